#include "sys/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/failure.h"
#include "sys/store_entry.h"

namespace layerstack {

bool TryFlock(int fd, bool exclusive) {
  if (Again<::flock>(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  ThrowErrno(errno, "flock");
}

bool TryRangeLock(int fd, int64_t offset, bool exclusive) {
  struct flock range = {};
  range.l_type = exclusive ? F_WRLCK : F_RDLCK;
  range.l_whence = SEEK_SET;
  range.l_start = offset;
  range.l_len = 1;
  if (Again<::fcntl>(fd, F_OFD_SETLK, &range) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  ThrowErrno(errno, "fcntl");
}

UniqueFd OpenRangeLock(const std::string& path, int64_t offset, bool exclusive) {
  for (;;) {
    UniqueFd fd = OpenEntryFile(path, O_RDWR | O_CREAT, 0600);
    if (!TryRangeLock(fd.get(), offset, exclusive)) return {};
    struct stat held, named;
    if (Again<::fstat>(fd.get(), &held) != 0) ThrowErrno(errno, "fstat", path);
    if (Again<::stat>(path.c_str(), &named) == 0) {
      if (held.st_ino == named.st_ino && held.st_dev == named.st_dev) return fd;
    } else if (errno != ENOENT) {
      ThrowErrno(errno, "stat", path);
    }
  }
}

}  // namespace layerstack
