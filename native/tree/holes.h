// Holes of files: finds them when a file is read, and makes them where zeros would be written.
#pragma once

#include <sys/stat.h>

#include <string_view>

#include "format/tar_sparse.h"

namespace layerstack {

struct FileData {
  SparseMap parts;      // ascending; the bytes between them are zero
  uint64_t filled = 0;  // bytes of holes that the parts have in them
};
// Where the data of an open file is, by its file system (SEEK_DATA). Holes of less than 64 KiB count as data.
// Where a file has tens of thousands of holes, so do the smaller ones. Moves the file's position.
FileData FindData(int fd, const struct stat& info);

inline uint64_t DataBytes(const SparseMap& data) {
  uint64_t bytes = 0;
  for (const SparseFragment& fragment : data) bytes += static_cast<uint64_t>(fragment.length);
  return bytes;
}

// Writes the next bytes of a new file, but seeks over each 64 KiB of zeros and then sets `*holes`: the caller
// must set the file's size at the end. False with errno set on failure.
bool WriteAroundZeros(int fd, std::string_view bytes, bool* holes);

}  // namespace layerstack
