#include "format/tar_sparse.h"

#include "format/tar_header.h"

namespace layerstack {

namespace {
constexpr size_t kPairBytes = 24;  // 12 of offset, 12 of length
}  // namespace

bool ValidSparseMap(const SparseMap& map, int64_t size, uint64_t packed) {
  if (size < 0) return false;
  int64_t end = 0;
  uint64_t total = 0;
  for (const SparseFragment& fragment : map) {
    if (fragment.length < 0 || fragment.offset < end || fragment.length > size) return false;
    if (fragment.offset > size - fragment.length) return false;
    end = fragment.offset + fragment.length;
    total += static_cast<uint64_t>(fragment.length);
  }
  return total == packed;
}

std::string EncodeSparseMap(const SparseMap& map, uint64_t size) {
  const int64_t end = map.empty() ? 0 : map.back().offset + map.back().length;
  const bool ends_in_hole = static_cast<uint64_t>(end) < size;
  std::string text = std::to_string(map.size() + ends_in_hole) + "\n";
  for (const SparseFragment& fragment : map)
    text += std::to_string(fragment.offset) + "\n" + std::to_string(fragment.length) + "\n";
  if (ends_in_hole) text += std::to_string(size) + "\n0\n";
  text.resize((text.size() + kTarBlock - 1) / kTarBlock * kTarBlock);
  return text;
}

bool ParseOldGnuSparse(const char* pairs, size_t entries, SparseMap& map) {
  for (size_t i = 0; i < entries; ++i, pairs += kPairBytes) {
    if (pairs[0] == 0) return true;
    std::optional<int64_t> offset = ParseTarNumber({pairs, 12});
    std::optional<int64_t> length = ParseTarNumber({pairs + 12, 12});
    if (!offset || !length) return false;
    map.push_back({*offset, *length});
  }
  return true;
}

std::optional<SparseMap> ParseSparseRecord(std::string_view blocks, std::string_view text) {
  std::optional<int64_t> count = ParseDecimal(blocks);
  if (!count || *count < 0) return std::nullopt;
  SparseMap map;
  while (!text.empty()) {
    int64_t pair[2];
    for (int64_t& number : pair) {
      if (text.empty()) return std::nullopt;
      size_t comma = text.find(',');
      std::optional<int64_t> value = ParseDecimal(text.substr(0, comma));
      if (!value) return std::nullopt;
      number = *value;
      text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    }
    map.push_back({pair[0], pair[1]});
  }
  if (static_cast<int64_t>(map.size()) != *count) return std::nullopt;
  return map;
}

SparseMapReader::State SparseMapReader::Take(int64_t number) {
  if (number < 0) return State::kInvalid;
  if (count_ < 0) {
    count_ = number;
  } else if (offset_ < 0) {
    offset_ = number;
  } else {
    map_.push_back({offset_, number});
    offset_ = -1;
  }
  return static_cast<int64_t>(map_.size()) == count_ ? State::kDone : State::kMore;
}

SparseMapReader::State SparseMapReader::Feed(std::string_view block) {
  for (char c : block) {
    if (c != '\n') {
      number_ += c;
      if (number_.size() > 20) return State::kInvalid;
      continue;
    }
    std::optional<int64_t> value = ParseDecimal(number_);
    number_.clear();
    State state = value ? Take(*value) : State::kInvalid;
    if (state != State::kMore) return state;  // the rest of the block is padding
  }
  return State::kMore;
}

}  // namespace layerstack
