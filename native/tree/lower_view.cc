#include "tree/lower_view.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include <cstring>
#include <memory>
#include <set>

#include "sys/failure.h"

namespace layerstack {

bool IsWhiteout(const struct stat& info) { return S_ISCHR(info.st_mode) && info.st_rdev == 0; }

bool IsOpaque(int fd) {
  char value[2];
  ssize_t size = ::fgetxattr(fd, "trusted.overlay.opaque", value, sizeof value);
  return size == 1 && value[0] == 'y';
}

std::string ReadCapability(int directory, const std::string& name) {
  std::string proc = "/proc/self/fd/" + std::to_string(directory) + "/" + name;
  char value[64];  // revision 3, the largest, has 24 bytes
  ssize_t size = ::lgetxattr(proc.c_str(), "security.capability", value, sizeof value);
  return size > 0 ? std::string(value, static_cast<size_t>(size)) : "";
}

std::vector<std::string> ListNames(int fd) {
  UniqueFd own(Retry([&] { return ::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (!own) ThrowErrno(errno, "openat", ".");
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(own.get()), ::closedir);
  if (!stream) ThrowErrno(errno, "fdopendir", ".");
  own.release();
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    dirent* entry = ::readdir(stream.get());
    if (!entry) {
      if (errno != 0) ThrowErrno(errno, "getdents64", ".");
      return names;
    }
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
      names.emplace_back(entry->d_name);
    }
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
    for (const std::string& name : ListNames(part.get())) {
      if (!seen.insert(name).second) continue;
      struct stat info;
      if (::fstatat(part.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) ThrowErrno(errno, "fstatat", name);
      if (!IsWhiteout(info)) shown.insert(name);
    }
  }
  return {shown.begin(), shown.end()};
}

}  // namespace layerstack
