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
    unsigned char type;  // DT_..., DT_UNKNOWN if the file system does not say
  };

  // The fd stays the caller's and must be open for reading.
  explicit Dirents(int fd);

  // The next entries of the directory without `.` and `..`, in the file system's order. Empty at the end,
  // with errno 0, and on failure, with errno set.
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

// Every entry of the directory behind `fd`, sorted bytewise by name. The fd stays the caller's, with its
// position at the end. Throws the errno of getdents64(2), with the path `what`.
std::vector<DirectoryEntry> SortedEntries(int fd, const std::string& what);

}  // namespace layerstack
