// Writes tar-split.json.gz: one JSON object a line, byte for byte as dockerd >= 25 writes it. Memory: one
// pending segment (1 MiB) and the gzip state.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "codec/gzip_writer.h"

namespace layerstack {

// Longer segments are written in pieces, which readers join.
inline constexpr size_t kMaxSegmentBytes = size_t{1} << 20;

class TarSplitWriter {
 public:
  explicit TarSplitWriter(int fd);  // the fd stays the caller's, and open until Finish

  // Adds bytes to the pending raw segment.
  void Segment(const char* data, size_t length);
  // Ends the pending segment. Writes nothing if it is empty.
  void FlushSegment();
  // Flushes the pending segment, then writes the entry of one member. `crc` is absent when `size` is 0.
  void FileEntry(std::string_view name, uint64_t size, std::optional<std::array<uint8_t, 8>> crc);
  // How many file entries have been written.
  uint64_t FileEntries() const { return file_entries_; }
  // Flushes and ends the gzip stream. Does not sync.
  void Finish();

 private:
  void EndLine();

  GzipWriter gzip_;
  std::string segment_;
  std::string line_;
  uint64_t position_ = 0;
  uint64_t file_entries_ = 0;
};

}  // namespace layerstack
