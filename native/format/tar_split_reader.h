// Reads tar-split.json.gz (any gzip, also of several members) entry by entry. The file may be damaged or
// hostile: the length of a line is bounded, and a malformed line is ERR_STORE_CORRUPT. Names are passed on as
// recorded: they may repeat, climb or be absolute. Callers that open files by them must resolve them safely.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "codec/decoder.h"
#include "sys/fd.h"

namespace layerstack {

// Our own segments have at most 1 MiB. Old daemons put a member's headers, whatever their size, into one
// segment.
inline constexpr size_t kMaxTarSplitLine = size_t{16} << 20;

struct TarSplitEntry {
  enum class Type { kFile, kSegment };
  Type type = Type::kSegment;
  std::string name;                           // file: as in the tar, raw bytes
  uint64_t size = 0;                          // file: bytes of payload, at most INT64_MAX
  std::optional<std::array<uint8_t, 8>> crc;  // file: present when size > 0
  std::string payload;                        // segment: the raw bytes
};

class TarSplitReader {
 public:
  // `path` is for messages. Reads from the fd's current position.
  TarSplitReader(UniqueFd fd, std::string path);

  // False at the end. Reuses the strings of `entry`.
  bool Next(TarSplitEntry& entry);

 private:
  bool NextLine(std::string_view& line);
  bool Fill();
  [[noreturn]] void Corrupt(const std::string& what) const;

  UniqueFd fd_;
  std::string path_;
  std::unique_ptr<StreamDecoder> decoder_;
  std::string text_;  // decoded; the part from `start_` on is not yet used
  size_t start_ = 0;
  uint64_t line_number_ = 0;
};

}  // namespace layerstack
