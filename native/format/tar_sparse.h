// Where the data of a sparse member goes: the maps of old GNU (in header blocks), of PAX 0.0 and 0.1 (in a
// record) and of PAX 1.0 (before the data). The bytes between the fragments are zero.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace layerstack {

struct SparseFragment {
  int64_t offset;
  int64_t length;
};
using SparseMap = std::vector<SparseFragment>;

// Ascending, not overlapping, within `size`, and together exactly `packed` bytes.
bool ValidSparseMap(const SparseMap& map, int64_t size, uint64_t packed);

// The map of a file of `size` bytes as PAX 1.0 has it before the data, padded to whole blocks. Like GNU
// tar's, it ends at the end of the file.
std::string EncodeSparseMap(const SparseMap& map, uint64_t size);

// Appends up to `entries` pairs of an old GNU header or extension block.
bool ParseOldGnuSparse(const char* pairs, size_t entries, SparseMap& map);

// PAX 0.1: "offset,length,offset,length,...", `blocks` pairs.
std::optional<SparseMap> ParseSparseRecord(std::string_view blocks, std::string_view text);

// PAX 1.0: the map's text, block after block: "COUNT\nOFFSET\nLENGTH\n...".
class SparseMapReader {
 public:
  enum class State { kMore, kDone, kInvalid };
  State Feed(std::string_view block);
  SparseMap& Map() { return map_; }

 private:
  State Take(int64_t number);

  std::string number_;
  int64_t count_ = -1;
  int64_t offset_ = -1;
  SparseMap map_;
};

}  // namespace layerstack
