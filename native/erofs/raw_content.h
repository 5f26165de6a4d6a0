// Contents of files that are in the tar-split itself: of sparse members, of members that a later one
// replaces, and of names that lead through a link. Rebuilding the tar does not read these files.
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "codec/crc64.h"
#include "format/tar_sparse.h"

namespace layerstack::erofs {

struct RawContent {
  SparseMap data;  // the bytes between are zero
  Crc64 sum;       // of the data
};

// Whether the open file has the content. Reads no more than its data. Throws the errno.
bool HasContent(int fd, const struct stat& info, const RawContent& content);

}  // namespace layerstack::erofs
