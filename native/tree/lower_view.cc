#include "tree/lower_view.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include <set>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/xattrs.h"

namespace layerstack {

bool IsWhiteout(const struct stat& info) { return S_ISCHR(info.st_mode) && info.st_rdev == 0; }

bool IsOpaque(int fd) {
  char value[2];  // asked for on every directory: no allocation
  return ::fgetxattr(fd, "trusted.overlay.opaque", value, sizeof value) == 1 && value[0] == 'y';
}

std::string ReadCapability(int directory, const std::string& name) {
  return GetXattr(EntryPath(directory, name), "security.capability").value_or("");
}

void RefuseIndirect(int directory, const std::string& name, const struct stat& info, const std::string& path) {
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return;
  for (const std::string& attribute : ListXattrs(EntryPath(directory, name))) {
    if (attribute != "trusted.overlay.redirect" && attribute != "trusted.overlay.metacopy") continue;
    ThrowInput("ERR_UPPER_UNSUPPORTED",
               "overlayfs keeps the content of an entry elsewhere (" + attribute +
                   "); mount containers with redirect_dir=off,metacopy=off",
               {{"member", path}});
  }
}

LowerDirectory LowerDirectory::Open(const std::vector<std::string>& paths) {
  LowerDirectory root;
  for (const std::string& path : paths) {
    UniqueFd fd(Retry([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (!fd) ThrowErrno(errno, "open", path);
    bool opaque = IsOpaque(fd.get());
    root.parts_.push_back(std::move(fd));
    if (opaque) break;
  }
  return root;
}

std::optional<LowerDirectory::Entry> LowerDirectory::Find(const std::string& name) const {
  for (const UniqueFd& part : parts_) {
    Entry entry;
    if (::fstatat(part.get(), name.c_str(), &entry.info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      ThrowErrno(errno, "fstatat", name);
    }
    if (IsWhiteout(entry.info)) return std::nullopt;
    entry.capability = ReadCapability(part.get(), name);
    return entry;
  }
  return std::nullopt;
}

LowerDirectory LowerDirectory::Descend(const std::string& name) const {
  LowerDirectory child;
  for (const UniqueFd& part : parts_) {
    UniqueFd fd(Retry([&] {
      return ::openat(part.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }));
    if (!fd) {
      if (errno == ENOENT) continue;
      if (errno == ENOTDIR || errno == ELOOP) break;  // a whiteout or another kind hides what is below
      ThrowErrno(errno, "openat", name);
    }
    bool opaque = IsOpaque(fd.get());
    child.parts_.push_back(std::move(fd));
    if (opaque) break;
  }
  return child;
}

std::vector<std::string> LowerDirectory::Names() const {
  std::set<std::string> seen;
  std::set<std::string> shown;
  for (const UniqueFd& part : parts_) {
    UniqueFd listed(Retry([&] { return ::openat(part.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (!listed) ThrowErrno(errno, "openat", ".");
    for (const std::string& name : SortedNames(listed.get(), ".")) {
      if (!seen.insert(name).second) continue;
      struct stat info;
      if (::fstatat(part.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) ThrowErrno(errno, "fstatat", name);
      if (!IsWhiteout(info)) shown.insert(name);
    }
  }
  return {shown.begin(), shown.end()};
}

}  // namespace layerstack
