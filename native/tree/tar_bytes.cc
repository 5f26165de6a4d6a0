#include "tree/tar_bytes.h"

#include <fcntl.h>
#include <unistd.h>

#include "sys/failure.h"
#include "sys/store_entry.h"

namespace layerstack {

StoredTar::StoredTar(const std::string& path) : file_(OpenEntryFile(path, O_RDONLY, 0)) {}

size_t StoredTar::Read(char* buffer, size_t room) {
  const ssize_t count = Again<::read>(file_.get(), buffer, room);
  if (count < 0) ThrowErrno(errno, "read");
  return static_cast<size_t>(count);
}

}  // namespace layerstack
