#include "sys/dirents.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sys/failure.h"

namespace layerstack {

Dirents::Dirents(int fd) : fd_(fd), buffer_(new char[kBuffer]) {}

std::vector<Dirents::Entry>& Dirents::Next() {
  entries_.clear();
  // A piece may hold only the two dots.
  while (entries_.empty()) {
    errno = 0;
    long length = ::syscall(SYS_getdents64, fd_, buffer_.get(), kBuffer);
    // A directory that was removed meanwhile has no more entries.
    if (length < 0 && errno == ENOENT) errno = 0;
    if (length <= 0) return entries_;
    for (long at = 0; at < length;) {
      auto* entry = reinterpret_cast<const dirent64*>(buffer_.get() + at);
      at += entry->d_reclen;
      const char* name = entry->d_name;
      if (std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0)
        entries_.push_back({entry->d_ino, name, entry->d_type});
    }
  }
  return entries_;
}

std::vector<DirectoryEntry> SortedEntries(int fd, const std::string& what) {
  std::vector<DirectoryEntry> entries;
  Dirents dirents(fd);
  for (;;) {
    const auto& piece = dirents.Next();
    if (piece.empty()) break;
    for (const Dirents::Entry& entry : piece) entries.push_back({entry.name, entry.type});
  }
  if (errno != 0) ThrowErrno(errno, "getdents64", what);
  std::sort(entries.begin(), entries.end(),
            [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
  return entries;
}

}  // namespace layerstack
