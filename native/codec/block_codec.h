// Compression in blocks that threads make side by side. One after another, the blocks are an ordinary stream:
// gzip members, zstd frames, or one gzip member (each block deflated with the end of the one before as its
// dictionary, as pigz does). The bytes depend on the input, the level and the library alone, never on the
// number of threads. Objects are immutable, so any thread may use them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/sniff.h"

namespace layerstack {

// The encoder of gzip. libdeflate writes many members, and zlib writes one.
enum class GzipEncoder { kLibdeflate, kZlib };
// Returns libdeflate if the system has it.
GzipEncoder BestGzipEncoder();

class BlockCodec {
 public:
  // Describe what was compressed.
  struct Totals {
    uint64_t length = 0;
    uint32_t crc = 0;  // zlib's gzip only
  };
  struct Encoded {
    std::string bytes;
    Totals totals;
  };

  // gzip (levels 1 to 9) or zstd (1 to 19). Level 0 is the default. Throws ERR_COMPRESSION_UNSUPPORTED for
  // other formats and for an encoder that no library has, ERR_INVALID_ARGUMENT for an unknown level.
  static std::unique_ptr<const BlockCodec> Create(Compression compression, int level,
                                                  GzipEncoder encoder = BestGzipEncoder());
  virtual ~BlockCodec() = default;

  // The size of every block but the last. A stream has at least one block, which may be empty.
  virtual size_t BlockBytes() const = 0;
  virtual std::string Head() const { return {}; }
  // Encodes one block. `before` is at least the last 32 KiB of the block before, and empty for the first
  // block.
  virtual Encoded Encode(const std::vector<std::string_view>& block, std::string_view before) const = 0;
  // Adds a block's totals to those of all blocks before it.
  virtual void Join(Totals& totals, const Totals& block) const { totals.length += block.length; }
  virtual std::string Tail(const Totals&) const { return {}; }
};

}  // namespace layerstack
