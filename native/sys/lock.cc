#include "sys/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "sys/failure.h"

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

}  // namespace layerstack
