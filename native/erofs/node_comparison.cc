#include "erofs/node_comparison.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/xattrs.h"
#include "tree/metadata.h"

namespace layerstack::erofs {

namespace {

constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr char kOpaqueXattr[] = "trusted.overlay.opaque";
constexpr char kFileCapability[] = "security.capability";

const char* KindName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "a file";
    case S_IFDIR: return "a directory";
    case S_IFLNK: return "a symbolic link";
    case S_IFCHR: return "a character device";
    case S_IFBLK: return "a block device";
    case S_IFIFO: return "a fifo";
    default: return "a socket";
  }
}

std::string LinkTarget(const LayerEntry& entry) {
  std::string target(static_cast<size_t>(entry.info.st_size) + 1, '\0');
  const ssize_t length =
      Again<::readlinkat>(entry.directory, entry.name.c_str(), target.data(), target.size());
  if (length < 0) ThrowErrno(errno, "readlink", entry.name);
  target.resize(static_cast<size_t>(length));
  return target;
}

std::string Octal(mode_t mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

std::string TimeText(int64_t seconds, uint32_t nanoseconds) {
  char text[16];
  std::snprintf(text, sizeof text, ".%09u", nanoseconds);
  return std::to_string(seconds) + text;
}

void AddFact(std::string& list, const std::string& fact) {
  if (!list.empty()) list += ", ";
  list += fact;
}

// Besides the opaque mark, these two of overlayfs's attributes change what a mount shows. Its others only
// record where an entry was copied up from.
bool ChangesMount(const std::string& name) {
  return name == "trusted.overlay.redirect" || name == "trusted.overlay.metacopy";
}

// Returns whether an attribute that no header has counts as a difference. File systems have attributes of
// their own, as btrfs.compression and trusted.SGI_ACL_FILE are.
bool IsAdditional(const std::string& name, bool of_upper) {
  if (name == kFileCapability) return true;
  if (name.starts_with(kOverlayPrefix)) return ChangesMount(name);
  if (of_upper || name.starts_with("user.overlay.") || name.starts_with("trusted.SGI_")) return false;
  return name.starts_with("user.") || name.starts_with("trusted.") || name.starts_with("system.posix_acl_");
}

// Whether the file system has attributes of this name for the entry at all.
bool IsSupported(const std::string& path, const std::string& name) {
  return ::lgetxattr(path.c_str(), name.c_str(), nullptr, 0) >= 0 || errno != ENOTSUP;
}

void CompareXattrs(const std::string& path, const Node& node, bool of_upper, std::string& facts) {
  if (node.xattrs) {
    for (const auto& [name, value] : *node.xattrs) {
      const std::optional<std::string> found = GetXattr(path, name);
      if (found == value || (!found && !IsSupported(path, name))) continue;
      AddFact(facts, (found ? "another value of attribute " : "no attribute ") + name);
    }
  }
  for (const std::string& name : ListXattrs(path)) {
    if (node.xattrs && node.xattrs->contains(name)) continue;
    if (IsAdditional(name, of_upper)) AddFact(facts, "additional attribute " + name);
  }
  const bool opaque = GetXattr(path, kOpaqueXattr) == "y";
  if (node.children && opaque != node.opaque)
    AddFact(facts, opaque ? "an additional opaque mark" : "no opaque mark");
}

}  // namespace

std::string DifferentKind(const LayerEntry& entry, const Node& node) {
  const struct stat& info = entry.info;
  if ((info.st_mode & S_IFMT) != (node.mode & S_IFMT))
    return std::string("is ") + KindName(info.st_mode) + " instead of " +
           (node.IsWhiteout() ? "a whiteout" : KindName(node.mode));
  if (S_ISLNK(node.mode) && LinkTarget(entry) != node.target) return "does not have the recorded target";
  if ((S_ISCHR(node.mode) || S_ISBLK(node.mode)) && PackedNumber(info.st_rdev) != node.number)
    return "does not have the recorded device number";
  if (S_ISREG(node.mode) && static_cast<uint64_t>(info.st_size) != node.size)
    return "has " + std::to_string(info.st_size) + " bytes instead of " + std::to_string(node.size);
  return "";
}

std::string DifferentMetadata(const LayerEntry& entry, const Node& node, const MetadataRules& rules) {
  const struct stat& info = entry.info;
  std::string facts;
  if (node.IsWhiteout()) return facts;
  if (!S_ISLNK(node.mode) && (info.st_mode & 07777) != (node.mode & 07777))
    AddFact(facts, "mode " + Octal(info.st_mode) + " instead of " + Octal(node.mode));
  const uint32_t uid = node.uid + rules.first_uid;
  const uint32_t gid = node.gid + rules.first_gid;
  if (info.st_uid != uid || info.st_gid != gid) {
    AddFact(facts, "owner " + std::to_string(info.st_uid) + ":" + std::to_string(info.st_gid) +
                       " instead of " + std::to_string(uid) + ":" + std::to_string(gid));
  }
  // Fractions are compared only if both sides have them. A header may come from a program that leaves
  // fractions out. On a file system that stores none, the change time, which the kernel sets, has no fraction
  // either.
  const bool stored = info.st_mtim.tv_nsec != 0 || info.st_ctim.tv_nsec != 0;
  const bool exact = node.nanoseconds != 0 && stored;
  if (node.dated &&
      (info.st_mtim.tv_sec != node.seconds || (exact && info.st_mtim.tv_nsec != node.nanoseconds))) {
    AddFact(facts, "time " + TimeText(info.st_mtim.tv_sec, static_cast<uint32_t>(info.st_mtim.tv_nsec)) +
                       " instead of " + TimeText(node.seconds, node.nanoseconds));
  }
  CompareXattrs(EntryPath(entry.directory, entry.name), node, rules.of_upper, facts);
  return facts;
}

void SetMetadata(const LayerEntry& entry, const Node& node, const MetadataRules& rules) {
  const NodeRef ref{entry.directory, entry.name.c_str()};
  const std::string path = EntryPath(entry.directory, entry.name);
  ChangeOwner(ref, node.uid + rules.first_uid, node.gid + rules.first_gid);
  for (const std::string& name : ListXattrs(path)) {
    const bool known = node.xattrs && node.xattrs->contains(name);
    const bool opaque = name == kOpaqueXattr && !node.opaque;
    if (known || (!opaque && !IsAdditional(name, rules.of_upper))) continue;
    if (Again<::lremovexattr>(path.c_str(), name.c_str()) != 0 && errno != ENODATA)
      ThrowErrno(errno, "removexattr", entry.name);
  }
  if (node.xattrs) {
    for (const auto& [name, value] : *node.xattrs)
      if (IsSupported(path, name)) SetXattr(path, name, value);
  }
  if (node.opaque) SetXattr(path, kOpaqueXattr, "y");
  if (!S_ISLNK(node.mode)) ChangeMode(ref, node.mode & 07777);
  if (!node.dated) return;
  const timespec time{static_cast<time_t>(node.seconds), static_cast<long>(node.nanoseconds)};
  const timespec times[2] = {entry.info.st_atim, time};
  if (Again<::utimensat>(entry.directory, entry.name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    ThrowErrno(errno, "utimensat", entry.name);
}

}  // namespace layerstack::erofs
