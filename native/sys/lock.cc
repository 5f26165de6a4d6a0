#include "sys/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "sys/failure.h"

namespace layerstack {

bool TryFlock(int fd, bool exclusive) {
  if (Again<::flock>(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  ThrowErrno(errno, "flock");
}

namespace {
int SetRangeLock(int fd, int64_t offset, short type) {
  struct flock range = {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = offset;
  range.l_len = 1;
  return Again<::fcntl>(fd, F_OFD_SETLK, &range);
}
}  // namespace

bool TryRangeLock(int fd, int64_t offset, bool exclusive) {
  if (SetRangeLock(fd, offset, exclusive ? F_WRLCK : F_RDLCK) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  ThrowErrno(errno, "fcntl");
}

NamedLock TryNamedRangeLock(int fd, const std::string& path, int64_t offset, bool exclusive) {
  if (!TryRangeLock(fd, offset, exclusive)) return NamedLock::kBusy;
  struct stat held, named;
  if (Again<::fstat>(fd, &held) != 0) ThrowErrno(errno, "fstat", path);
  if (Again<::fstatat>(AT_FDCWD, path.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0) {
    if (held.st_ino == named.st_ino && held.st_dev == named.st_dev) return NamedLock::kHeld;
  } else if (errno != ENOENT) {
    ThrowErrno(errno, "stat", path);
  }
  ReleaseRangeLock(fd, offset);
  return NamedLock::kRenamed;
}

void ReleaseRangeLock(int fd, int64_t offset) {
  if (SetRangeLock(fd, offset, F_UNLCK) != 0) ThrowErrno(errno, "fcntl");
}

}  // namespace layerstack
