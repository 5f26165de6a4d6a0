#include "tree/copy_node.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>

#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/xattrs.h"
#include "tree/holes.h"

namespace layerstack {

namespace {

// These name the superblock of an upper, and count links for an index. A copy must not have them.
bool IsOfOneUpper(const std::string& name) {
  return name == "trusted.overlay.uuid" || name == "trusted.overlay.nlink";
}

void CopyContent(int from, int to, const std::string& path) {
  struct stat info;
  if (Again<::fstat>(from, &info) != 0) ThrowErrno(errno, "fstat", path);
  if (info.st_size > 0 && Again<::ioctl>(to, FICLONE, from) == 0) return;
  for (const SparseFragment& data : FindData(from, info).parts) {
    off_t at = data.offset;
    if (Again<::lseek>(to, at, SEEK_SET) < 0) ThrowErrno(errno, "lseek", path);
    for (int64_t left = data.length; left > 0;) {
      const size_t most = static_cast<size_t>(std::min<int64_t>(left, 1 << 30));
      ssize_t sent = Again<::sendfile>(to, from, &at, most);
      if (sent < 0) ThrowErrno(errno, "sendfile", path);
      if (sent == 0) break;
      left -= sent;
    }
  }
  if (Again<::ftruncate>(to, info.st_size) != 0) ThrowErrno(errno, "ftruncate", path);
}

void CopyFile(int from_dir, int to_dir, const char* name, const std::string& path, OverlayMarks marks) {
  // O_NONBLOCK: a pipe may have taken the place of the file.
  UniqueFd from(Again<::openat>(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!from) ThrowErrno(errno, "open", path);
  struct stat st;
  if (Again<::fstat>(from.get(), &st) != 0) ThrowErrno(errno, "fstat", path);
  if (!S_ISREG(st.st_mode)) ThrowErrno(ENXIO, "open", path);
  UniqueFd to(Again<::openat>(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!to) ThrowErrno(errno, "open", path);
  CopyContent(from.get(), to.get(), path);
  if (Again<::fchown>(to.get(), st.st_uid, st.st_gid) != 0) ThrowErrno(errno, "fchown", path);
  CopyAttributes(from.get(), to.get(), path, marks);
  if (Again<::fchmod>(to.get(), st.st_mode & 07777) != 0) ThrowErrno(errno, "fchmod", path);
  const timespec times[2] = {st.st_atim, st.st_mtim};
  if (Again<::futimens>(to.get(), times) != 0) ThrowErrno(errno, "utimensat", path);
}

// For files that cannot be opened: links, pipes, sockets and devices.
void CopyNamedAttributes(int from_dir, int to_dir, const std::string& name, OverlayMarks marks) {
  const std::string from = EntryPath(from_dir, name);
  const std::string to = EntryPath(to_dir, name);
  for (const std::string& key : ListXattrs(from)) {
    const bool mark = key.starts_with("trusted.overlay.");
    if (mark && (marks == OverlayMarks::kLeaveOut || IsOfOneUpper(key))) continue;
    const std::optional<std::string> value = GetXattr(from, key);
    if (!value) continue;
    try {
      SetXattr(to, key, *value);
    } catch (const Failure& failure) {
      if (failure.errnum != ENOTSUP) throw;
    }
  }
}

}  // namespace

void CopyTimes(int dir, const char* name, const struct stat& st, int flags, const std::string& path) {
  const timespec times[2] = {st.st_atim, st.st_mtim};
  if (Again<::utimensat>(dir, name, times, flags) != 0) ThrowErrno(errno, "utimensat", path);
}

void CopyAttributes(int from, int to, const std::string& path, OverlayMarks marks) {
  CopyXattrs(from, to, path);
  if (marks == OverlayMarks::kLeaveOut) return;
  for (const std::string& name : ListXattrs(from, path)) {
    if (!name.starts_with("trusted.overlay.") || IsOfOneUpper(name)) continue;
    if (const std::optional<std::string> value = GetXattr(from, name, path)) SetXattr(to, name, *value, path);
  }
}

void CopyNode(int from_dir, int to_dir, const std::string& name, const struct stat& st,
              const std::string& path, OverlayMarks marks) {
  const char* entry = name.c_str();
  if (S_ISREG(st.st_mode)) return CopyFile(from_dir, to_dir, entry, path, marks);
  if (S_ISLNK(st.st_mode)) {
    std::string target(static_cast<size_t>(st.st_size) + 1, '\0');
    ssize_t length = Again<::readlinkat>(from_dir, entry, target.data(), target.size());
    if (length < 0) ThrowErrno(errno, "readlink", path);
    target.resize(static_cast<size_t>(length));
    if (Again<::symlinkat>(target.c_str(), to_dir, entry) != 0) ThrowErrno(errno, "symlink", target, path);
  } else if (Again<::mknodat>(to_dir, entry, st.st_mode, st.st_rdev) != 0) {
    ThrowErrno(errno, "mknod", path);
  }
  if (Again<::fchownat>(to_dir, entry, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    ThrowErrno(errno, "chown", path);
  if (marks == OverlayMarks::kCopy) CopyNamedAttributes(from_dir, to_dir, name, marks);
  if (!S_ISLNK(st.st_mode) && Again<::fchmodat>(to_dir, entry, st.st_mode & 07777, 0) != 0)
    ThrowErrno(errno, "chmod", path);
  CopyTimes(to_dir, entry, st, AT_SYMLINK_NOFOLLOW, path);
}

}  // namespace layerstack
