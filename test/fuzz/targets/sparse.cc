// The three forms of a sparse map. The first byte chooses one, and the number of data bytes follows from the
// map. A valid map that is written as PAX 1.0 is read as the same.
#include "format/tar_sparse.h"

#include "format/tar_header.h"
#include "fuzz.h"

using namespace layerstack;
using namespace layerstack::fuzz;

namespace {

std::optional<SparseMap> ReadPax10(std::string_view text) {
  SparseMapReader reader;
  for (; text.size() >= kTarBlock; text.remove_prefix(kTarBlock)) {
    SparseMapReader::State state = reader.Feed(text.substr(0, kTarBlock));
    if (state == SparseMapReader::State::kDone) return reader.Map();
    if (state == SparseMapReader::State::kInvalid) break;
  }
  return std::nullopt;
}

std::optional<SparseMap> ReadMap(unsigned form, std::string_view text) {
  if (form == 0) return ReadPax10(text);
  if (form == 1) {
    size_t line = std::min(text.find('\n'), text.size());
    return ParseSparseRecord(text.substr(0, line), text.substr(std::min(line + 1, text.size())));
  }
  SparseMap map;
  for (constexpr size_t kPairs = 21 * 24; text.size() >= kPairs; text.remove_prefix(kPairs))
    if (!ParseOldGnuSparse(std::string(text.substr(0, kPairs)).data(), 21, map)) return std::nullopt;
  return map;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::optional<SparseMap> map = ReadMap(data[0] % 3, Text(data + 1, size - 1));
  if (!map) return 0;
  uint64_t packed = 0;
  for (const SparseFragment& fragment : *map) packed += static_cast<uint64_t>(fragment.length);
  for (int64_t room : {int64_t{1} << 20, INT64_MAX}) {
    if (!ValidSparseMap(*map, room, packed)) continue;
    PROVE(!ValidSparseMap(*map, room, packed + 1));
    int64_t end = map->empty() ? 0 : map->back().offset + map->back().length;
    PROVE(end <= room);
    std::optional<SparseMap> again = ReadPax10(EncodeSparseMap(*map, static_cast<uint64_t>(room)));
    PROVE(again && again->size() >= map->size() && ValidSparseMap(*again, room, packed));
    for (size_t i = 0; i < map->size(); ++i)
      PROVE((*again)[i].offset == (*map)[i].offset && (*again)[i].length == (*map)[i].length);
  }
  return 0;
}
