#include "format/tar_index.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "format/tar_reader.h"
#include "sys/failure.h"

namespace layerstack {

namespace {

constexpr uint64_t kMaxPathBytes = 4096;
constexpr uint64_t kMaxPaxBytes = 1 << 20;

class FileSource : public ByteSource {
 public:
  FileSource(int fd, uint64_t size) : fd_(fd), size_(size) {}

  std::string_view Next() override {
    ssize_t length = Again<::pread>(fd_, buffer_, sizeof buffer_, static_cast<off_t>(offset_));
    if (length < 0) ThrowErrno(errno, "pread");
    offset_ += static_cast<uint64_t>(length);
    return {buffer_, static_cast<size_t>(length)};
  }
  // Never beyond the end of the file: Next reports that.
  uint64_t Skip(uint64_t length) override {
    uint64_t skipped = std::min(length, size_ - std::min(size_, offset_));
    offset_ += skipped;
    return skipped;
  }

 private:
  int fd_;
  uint64_t size_;
  uint64_t offset_ = 0;
  char buffer_[16 << 10];
};

}  // namespace

std::vector<TarIndexEntry> IndexTar(int fd, uint64_t max_members) {
  struct stat status;
  if (Again<::fstat>(fd, &status) < 0) ThrowErrno(errno, "fstat");
  FileSource source(fd, static_cast<uint64_t>(status.st_size));
  NoRaw raw;
  TarReader reader(source, raw, {max_members, kMaxPathBytes, kMaxPaxBytes}, kArchiveCodes);
  std::vector<TarIndexEntry> index;
  TarMember member;
  while (reader.Next(member)) {
    if (member.type == 'g') continue;
    index.push_back(
        {std::move(member.name), member.type, std::move(member.linkname), reader.Position(), member.payload});
  }
  return index;
}

}  // namespace layerstack
