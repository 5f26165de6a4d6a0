#include "tree/holes.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "sys/failure.h"
#include "sys/whole_io.h"

namespace layerstack {

namespace {

constexpr int64_t kLeastHole = 64 << 10;
constexpr size_t kZeroRun = kLeastHole;
constexpr size_t kMostFragments = 24 << 10;  // tar readers take a map of 1 MiB

// The fragments of a file in their order. Their number is bounded, however many holes the file has.
class Fragments {
 public:
  void Append(int64_t start, int64_t end) {
    if (start - End() >= kLeastHole) {
      if (map_.size() == 2 * kMostFragments) FillSmallest();
      map_.push_back({start, end - start});
    } else {
      ExtendTo(end);
    }
  }

  SparseMap Take(int64_t size) {
    if (size - End() < kLeastHole) ExtendTo(size);
    if (map_.size() > kMostFragments) FillSmallest();
    return std::move(map_);
  }

 private:
  int64_t End() const { return map_.empty() ? 0 : map_.back().offset + map_.back().length; }

  void ExtendTo(int64_t end) {
    if (map_.empty()) map_.push_back({0, 0});
    map_.back().length = end - map_.back().offset;
  }

  // Turns the smallest holes into data, until few enough are left.
  void FillSmallest() {
    const SparseMap all = std::move(map_);
    map_.clear();
    std::vector<std::pair<int64_t, size_t>> holes;  // in front of each fragment but the first
    for (size_t i = 1; i < all.size(); ++i)
      holes.emplace_back(all[i].offset - all[i - 1].offset - all[i - 1].length, i);
    auto kept = holes.end() - static_cast<ptrdiff_t>(kMostFragments - 1);
    std::nth_element(holes.begin(), kept, holes.end());
    std::vector<bool> begins(all.size());
    begins[0] = true;
    for (; kept != holes.end(); ++kept) begins[kept->second] = true;
    for (size_t i = 0; i < all.size(); ++i) {
      if (begins[i]) {
        map_.push_back(all[i]);
      } else {
        ExtendTo(all[i].offset + all[i].length);
      }
    }
  }

  SparseMap map_;
};

}  // namespace

FileData FindData(int fd, const struct stat& info) {
  const int64_t size = info.st_size;
  // The file has all its blocks: no need to ask for its holes.
  if (size < kLeastHole || static_cast<int64_t>(info.st_blocks) * 512 >= size) return {{{0, size}}, 0};
  Fragments fragments;
  uint64_t own = 0;
  for (int64_t at = 0; at < size;) {
    const int64_t data = Again<::lseek>(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return {{{0, size}}, 0};  // the file system does not report holes
    if (data >= size) break;
    int64_t hole = Again<::lseek>(fd, data, SEEK_HOLE);
    if (hole <= data || hole > size) hole = size;
    fragments.Append(data, hole);
    own += static_cast<uint64_t>(hole - data);
    at = hole;
  }
  SparseMap parts = fragments.Take(size);
  return {parts, DataBytes(parts) - own};
}

bool WriteAroundZeros(int fd, std::string_view bytes, bool* holes) {
  auto zeros_at = [&](size_t at) {
    const char* block = bytes.data() + at;
    return bytes.size() - at >= kZeroRun && block[0] == 0 && std::memcmp(block, block + 1, kZeroRun - 1) == 0;
  };
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at;
    while (zeros_at(end)) end += kZeroRun;
    if (end > at) {
      if (Again<::lseek>(fd, static_cast<off_t>(end - at), SEEK_CUR) < 0) return false;
      *holes = true;
      at = end;
      continue;
    }
    while (end < bytes.size() && !zeros_at(end)) end += std::min(kZeroRun, bytes.size() - end);
    if (!WriteAll(fd, bytes.data() + at, end - at)) return false;
    at = end;
  }
  return true;
}

}  // namespace layerstack
