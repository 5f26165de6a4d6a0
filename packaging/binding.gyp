{
  # `--units=no`: each source by itself, as the editor wants it (`npm run compile-commands`).
  # `--old_glibc=DIR`: with the libc.so in DIR and the C++ library inside (`npm run prebuild`).
  "variables": {"units%": "yes", "old_glibc%": ""},
  "target_defaults": {
    "include_dirs": ["native"],
    "defines": ["_FILE_OFFSET_BITS=64"],
    "cflags": ["-fvisibility=hidden", "-Wall", "-Wextra"],
    "cflags_cc": ["-std=c++20"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17"],
    "cflags!": ["-fno-exceptions"]
  },
  "targets": [
    {
      "target_name": "core",
      "type": "static_library",
      "conditions": [
        ["units=='yes'", {"sources": ["<!@(node packaging/units.js sys codec format tree pipeline erofs)"]},
                         {"sources": ["<!@(find native/sys native/codec native/format native/tree native/pipeline native/erofs -name '*.cc')"]}]
      ],
      # Node's -O3 would take longer to compile, for a program that waits for the kernel.
      "configurations": {"Release": {"cflags": ["-O2"], "cflags!": ["-O3"]}}
    },
    {
      "target_name": "layerstack",
      "dependencies": ["core"],
      "conditions": [
        ["units=='yes'", {"sources": ["<!@(node packaging/units.js napi)"]},
                         {"sources": ["<!@(find native/napi -name '*.cc')"]}],
        ["old_glibc!=''", {
          "sources": ["native/glibc/floor.cc"],
          "ldflags": ["-L<(old_glibc)", "-static-libstdc++", "-static-libgcc", "-Wl,-u,__cxa_pure_virtual", "-Wl,--gc-sections", "-Wl,-s"]
        }]
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_DISABLE_DEPRECATED"],
      # Nothing here runs for long: it hands values over.
      "configurations": {"Release": {"cflags": ["-O1"], "cflags!": ["-O3"]}},
      "ldflags": ["-Wl,--version-script=../native/exports.map", "-Wl,-z,relro,-z,now", "-Wl,-z,nodelete"],
      "libraries": ["-ldl", "-lpthread"]
    }
  ]
}
