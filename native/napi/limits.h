// The bounds of a layer, as JavaScript passes them.
#pragma once

#include <napi.h>

#include "format/tar_reader.h"
#include "napi/args.h"

namespace layerstack {

// Reads the members of `limits` that bound a tar. `maxBytes` is the caller's to read.
inline TarLimits TarLimitsArg(const Napi::Object& limits) {
  TarLimits bounds;
  bounds.max_members = CountArg(limits.Get("maxEntries"), "limits.maxEntries");
  bounds.max_path_bytes = CountArg(limits.Get("maxPathBytes"), "limits.maxPathBytes");
  bounds.max_pax_bytes = CountArg(limits.Get("maxPaxBytes"), "limits.maxPaxBytes");
  return bounds;
}

}  // namespace layerstack
