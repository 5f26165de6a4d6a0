// Shared by the tests of native/codec: scratch directories, and compression of whole strings.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "codec/decoder.h"
#include "codec/gzip_writer.h"
#include "sys/fd.h"

namespace layerstack::test {

namespace fs = std::filesystem;

inline std::string ReadFile(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void WriteFile(const fs::path& path, std::string_view content) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

// A directory of its own, removed at the end.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "layerstack-codec-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Scratch() { fs::remove_all(path_); }
  fs::path operator/(std::string_view name) const { return path_ / name; }

 private:
  fs::path path_;
};

inline UniqueFd Create(const fs::path& path) {
  return UniqueFd(::open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600));
}

inline std::string Gzip(std::string_view text) {
  Scratch scratch;
  UniqueFd fd = Create(scratch / "gz");
  GzipWriter writer(fd.get());
  writer.Write(text.data(), text.size());
  writer.Finish();
  return ReadFile(scratch / "gz");
}

// Decodes `input`, given in pieces of `piece` bytes and taken in pieces of `room`.
inline std::string Decode(Compression compression, std::string_view input, size_t piece = 1 << 20,
                          size_t room = 4096) {
  auto decoder = StreamDecoder::Create(compression);
  std::string out;
  std::string buffer(room, '\0');
  for (;;) {
    size_t count = decoder->Output(buffer.data(), room);
    out.append(buffer, 0, count);
    if (count > 0) continue;
    if (decoder->Done()) return out;
    if (input.empty()) {
      decoder->EndInput();
    } else {
      decoder->Input(std::string(input.substr(0, piece)));
      input.remove_prefix(std::min(piece, input.size()));
    }
  }
}

}  // namespace layerstack::test
