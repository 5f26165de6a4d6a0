#include "tree/metadata.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "sys/failure.h"
#include "sys/fd.h"

namespace layerstack {

namespace {

uint32_t IdOf(const TarMember& member, int64_t id, const char* what) {
  if (id < 0 || id >= UINT32_MAX) {
    ThrowInput("ERR_LAYER_INVALID", "'" + member.name + "' has the " + what + " id " + std::to_string(id) +
                                        ", which is not valid for a file");
  }
  return static_cast<uint32_t>(id);
}

timespec Bounded(const TarTime& time) {
  constexpr TarTime kLast{INT64_MAX / 1'000'000'000, INT64_MAX % 1'000'000'000};  // int64 nanoseconds
  if (time.seconds < 0 || time > kLast) return {0, 0};
  return {static_cast<time_t>(time.seconds), static_cast<long>(time.nanoseconds)};
}

// A path to exactly the inode of `node`, for calls that take neither an fd nor "do not follow".
class InodePath {
 public:
  explicit InodePath(NodeRef node) {
    int fd = node.fd;
    if (node.name != nullptr) {
      fd_.reset(Again<::openat>(node.fd, node.name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
      if (!fd_) ThrowErrno(errno, "open");
      fd = fd_.get();
    }
    path_ = "/proc/self/fd/" + std::to_string(fd);
  }
  const char* Get() const { return path_.c_str(); }

 private:
  UniqueFd fd_;
  std::string path_;
};

bool IsOverlayOwn(const std::string& name) {
  return name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.");
}

}  // namespace

uid_t OwnerOf(const TarMember& member) { return IdOf(member, member.uid, "user"); }
gid_t GroupOf(const TarMember& member) { return IdOf(member, member.gid, "group"); }

mode_t NodeTypeOf(const TarMember& member) {
  return member.type == '3' ? S_IFCHR : member.type == '4' ? S_IFBLK : S_IFIFO;
}

dev_t DeviceOf(const TarMember& member) {
  if (NodeTypeOf(member) == S_IFIFO) return 0;
  auto fits = [](int64_t number, int bits) { return number >= 0 && number >> bits == 0; };
  if (!fits(member.device_major, 12) || !fits(member.device_minor, 20))  // as the kernel packs them
    ThrowInput("ERR_LAYER_INVALID", "'" + member.name + "' has a device number that no device can have");
  return ::makedev(static_cast<unsigned>(member.device_major), static_cast<unsigned>(member.device_minor));
}

const char* LinkTargetOf(const TarMember& member) {
  if (member.linkname.empty())
    ThrowInput("ERR_LAYER_INVALID", "'" + member.name + "' is a symbolic link with an empty target");
  return member.linkname.c_str();
}

void TimesOf(const TarMember& member, timespec times[2]) {
  times[1] = Bounded(member.mtime);
  bool later = member.atime && *member.atime > member.mtime;
  times[0] = later ? Bounded(*member.atime) : times[1];
}

void ChangeOwner(NodeRef node, uid_t uid, gid_t gid) {
  int result = node.name ? Again<::fchownat>(node.fd, node.name, uid, gid, AT_SYMLINK_NOFOLLOW)
                         : Again<::fchown>(node.fd, uid, gid);
  if (result < 0) ThrowErrno(errno, "chown");
}

void ChangeMode(NodeRef node, mode_t mode) {
  int result = node.name ? ::chmod(InodePath(node).Get(), mode) : Again<::fchmod>(node.fd, mode);
  if (result < 0) ThrowErrno(errno, "chmod");
}

void ChangeTimes(NodeRef node, const TarMember& member) {
  timespec times[2];
  TimesOf(member, times);
  int result = node.name ? Again<::utimensat>(node.fd, node.name, times, AT_SYMLINK_NOFOLLOW)
                         : Again<::futimens>(node.fd, times);
  if (result < 0) ThrowErrno(errno, "utimensat");
}

void SetXattrs(NodeRef node, const TarMember& member, Warnings& warnings) {
  for (const auto& [name, value] : member.xattrs) {
    if (IsOverlayOwn(name)) {
      // At most as much of the name as a file system takes: a warning must not keep a whole PAX header.
      warnings.Add(
          "WARN_XATTR_DROPPED", member.name,
          "dropped '" + name.substr(0, XATTR_NAME_MAX) + "': it belongs to overlayfs, not to layers");
      continue;
    }
    int result = node.name
                     ? Again<::setxattr>(InodePath(node).Get(), name.c_str(), value.data(), value.size(), 0)
                     : Again<::fsetxattr>(node.fd, name.c_str(), value.data(), value.size(), 0);
    if (result == 0) continue;
    if (errno != EPERM && errno != ENOTSUP) ThrowErrno(errno, "setxattr", name.substr(0, XATTR_NAME_MAX));
    const char* why = errno == EPERM ? "not permitted here" : "the file system does not support it";
    warnings.Add("WARN_XATTR_DENIED", member.name, "left '" + name + "' out: " + why);
  }
}

void FinishFile(const NewFile& file, const TarMember& member, Warnings& warnings) {
  NodeRef node{file.fd.get()};
  if (file.needs_chown) ChangeOwner(node, OwnerOf(member), GroupOf(member));
  SetXattrs(node, member, warnings);
  if (file.needs_chmod) ChangeMode(node, ModeOf(member));
  ChangeTimes(node, member);
}

}  // namespace layerstack
