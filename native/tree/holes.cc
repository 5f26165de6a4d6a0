#include "tree/holes.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sys/whole_io.h"

namespace layerstack {

namespace {

constexpr int64_t kLeastHole = 64 << 10;
constexpr size_t kZeros = kLeastHole;
constexpr size_t kMostFragments = 4096;  // their map has to fit into what tar readers take, 1 MiB

// Fragments of a file in its order; never many, whatever a container has made of its files.
class Fragments {
 public:
  void Append(int64_t start, int64_t end) {
    int64_t last = map_.empty() ? 0 : map_.back().offset + map_.back().length;
    if (start - last >= least_) {
      map_.push_back({start, end - start});
    } else if (map_.empty()) {
      map_.push_back({0, end});
    } else {
      map_.back().length = end - map_.back().offset;
    }
    while (map_.size() > kMostFragments) Coarsen();
  }

  SparseMap Take(int64_t size) {
    if (map_.empty() && size < least_) map_.push_back({0, 0});
    if (!map_.empty() && size - map_.back().offset - map_.back().length < least_)
      map_.back().length = size - map_.back().offset;
    return std::move(map_);
  }

 private:
  void Coarsen() {
    least_ *= 2;
    SparseMap all = std::move(map_);
    map_.clear();
    for (const SparseFragment& fragment : all) Append(fragment.offset, fragment.offset + fragment.length);
  }

  int64_t least_ = kLeastHole;
  SparseMap map_;
};

}  // namespace

SparseMap FindData(int fd, const struct stat& info) {
  const int64_t size = info.st_size;
  // Every block is there: no need to ask for each file.
  if (size < kLeastHole || static_cast<int64_t>(info.st_blocks) * 512 >= size) return {{0, size}};
  Fragments fragments;
  for (int64_t at = 0; at < size;) {
    const int64_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return {{0, size}};  // the file system does not tell
    if (data >= size) break;
    int64_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole <= data || hole > size) hole = size;
    fragments.Append(data, hole);
    at = hole;
  }
  return fragments.Take(size);
}

bool WriteAroundZeros(int fd, std::string_view bytes, bool* holes) {
  auto zeros_at = [&](size_t at) {
    const char* block = bytes.data() + at;
    return bytes.size() - at >= kZeros && block[0] == 0 && std::memcmp(block, block + 1, kZeros - 1) == 0;
  };
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at;
    while (zeros_at(end)) end += kZeros;
    if (end > at) {
      if (::lseek(fd, static_cast<off_t>(end - at), SEEK_CUR) < 0) return false;
      *holes = true;
      at = end;
      continue;
    }
    while (end < bytes.size() && !zeros_at(end)) end += std::min(kZeros, bytes.size() - end);
    if (!WriteAll(fd, bytes.data() + at, end - at)) return false;
    at = end;
  }
  return true;
}

}  // namespace layerstack
