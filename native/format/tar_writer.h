// Encodes tar members: POSIX ustar headers, with a PAX extended header before them if ustar cannot hold a
// field exactly (names that do not fit or are not ASCII, big ids and sizes, fractions of a second, times
// before 1970, extended attributes). The same member always gives the same bytes. The fields are laid out as
// Go's archive/tar writes them, which every registry tool reads: NUL-terminated octal numbers, empty user and
// group names.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "format/tar_header.h"
#include "format/tar_sparse.h"

namespace layerstack {

// The content of a header to be written. (TarReader gives a TarMember: format/tar_reader.h.)
struct TarEntry {
  std::string name;  // directories end in "/"
  char type = '0';
  mode_t mode = 0;  // permission bits only
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;  // holes included
  std::optional<SparseMap>
      sparse;  // of a file with holes: where its data is; only the data follows the header
  timespec mtime = {0, 0};
  std::string linkname;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  std::map<std::string, std::string> xattrs;  // by full name, e.g. "security.capability"
};

// The header blocks of `member`, with the PAX header and its padding. For a sparse member also the map that
// begins its content (PAX 1.0, which GNU tar, libarchive, Python and Go read).
std::string EncodeTarHeader(const TarEntry& member);

// The number of zero bytes that follow `size` bytes of content.
inline size_t TarPadding(uint64_t size) { return (kTarBlock - size % kTarBlock) % kTarBlock; }

}  // namespace layerstack
