// The members of an uncompressed tar file, found by reading its headers only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace layerstack {

struct TarIndexEntry {
  std::string name;
  char type;  // as in the header
  std::string linkname;
  uint64_t offset;  // of the content
  uint64_t size;
};

// Throws ERR_ARCHIVE_INVALID, ERR_ARCHIVE_TRUNCATED if a member ends behind the file's end, and
// ERR_LIMIT_EXCEEDED for more than `max_members`. The fd stays the caller's. Its position is neither used nor
// changed.
std::vector<TarIndexEntry> IndexTar(int fd, uint64_t max_members);

}  // namespace layerstack
