#include "erofs/raw_content.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "sys/failure.h"
#include "tree/holes.h"

namespace layerstack::erofs {

namespace {

constexpr size_t kRawPiece = 256 << 10;

class RangeReader {
 public:
  explicit RangeReader(int fd) : fd_(fd), buffer_(std::make_unique<char[]>(kRawPiece)) {}

  // Gives each piece of a range to `use`. False if the file ends before it, or `use` says so.
  template <typename Use>
  bool Each(int64_t begin, int64_t end, Use use) {
    while (begin < end) {
      const size_t wanted = static_cast<size_t>(std::min<int64_t>(end - begin, kRawPiece));
      const ssize_t count = Again<::pread>(fd_, buffer_.get(), wanted, begin);
      if (count < 0) ThrowErrno(errno, "pread");
      if (count == 0 || !use(std::string_view(buffer_.get(), static_cast<size_t>(count)))) return false;
      begin += count;
    }
    return true;
  }

  bool IsZero(int64_t begin, int64_t end) {
    return Each(begin, end, [](std::string_view piece) {
      return piece.find_first_not_of('\0') == std::string_view::npos;
    });
  }

 private:
  int fd_;
  std::unique_ptr<char[]> buffer_;
};

}  // namespace

bool HasContent(int fd, const struct stat& info, const RawContent& content) {
  RangeReader reader(fd);
  Crc64 sum;
  for (const SparseFragment& part : content.data) {
    const bool whole = reader.Each(part.offset, part.offset + part.length, [&](std::string_view piece) {
      sum.Update(piece.data(), piece.size());
      return true;
    });
    if (!whole) return false;
  }
  if (sum.Value() != content.sum.Value()) return false;
  // What the file system has as data outside must be zeros.
  auto next = content.data.begin();
  for (const SparseFragment& part : FindData(fd, info).parts) {
    int64_t at = part.offset;
    const int64_t end = part.offset + part.length;
    while (at < end) {
      while (next != content.data.end() && next->offset + next->length <= at) ++next;
      const int64_t until = next == content.data.end() ? end : std::clamp(next->offset, at, end);
      if (!reader.IsZero(at, until)) return false;
      if (next == content.data.end()) break;
      at = std::max(until, std::min(end, next->offset + next->length));
    }
  }
  return true;
}

}  // namespace layerstack::erofs
