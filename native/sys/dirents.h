// Reading a directory by getdents64(2) in large pieces, without the allocations of readdir(3).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace layerstack {

class Dirents {
 public:
  struct Entry {
    uint64_t inode;
    const char* name;    // valid until the next call of Next
    unsigned char type;  // DT_..., DT_UNKNOWN where the file system does not say
  };

  // The fd stays the caller's and must be open for reading.
  explicit Dirents(int fd);

  // The next piece of the directory without `.` and `..`, in the file system's order. Empty at the end, and on failure
  // with errno set (0 at the end).
  std::vector<Entry>& Next();

 private:
  static constexpr size_t kBuffer = 128 << 10;
  int fd_;
  std::unique_ptr<char[]> buffer_;
  std::vector<Entry> entries_;
};

struct DirectoryEntry {
  std::string name;
  unsigned char type;  // as above
};

// Every entry of the directory behind `fd`, sorted bytewise by name. The fd stays the caller's, with its position at the end.
// Throws the errno of getdents64(2); `what` is named in it.
std::vector<DirectoryEntry> SortedEntries(int fd, const std::string& what);

}  // namespace layerstack
