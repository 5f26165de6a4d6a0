#include "sys/xattrs.h"

#include <sys/xattr.h>

#include <cerrno>
#include <cstring>

#include "sys/failure.h"

namespace layerstack {

namespace {

constexpr char kOverlayPrefix[] = "trusted.overlay.";

// Calls `read(buffer, size)` with a buffer that is large enough. -1 with the errno of the call.
template <typename Read>
ssize_t ReadSized(std::string* value, Read read) {
  value->resize(256);  // most values fit, which saves asking for the size
  for (;;) {
    ssize_t size = read(value->data(), value->size());
    if (size < 0 && errno == ERANGE) {
      size = read(nullptr, 0);
      if (size >= 0) {
        value->resize(static_cast<size_t>(size) + 1);
        continue;
      }
    }
    value->resize(size < 0 ? 0 : static_cast<size_t>(size));
    return size;
  }
}

template <typename Read>
std::optional<std::string> Get(const char* syscall, const std::string& what, Read read) {
  std::string value;
  if (ReadSized(&value, read) >= 0) return value;
  if (errno == ENODATA || errno == ENOTSUP) return std::nullopt;
  ThrowErrno(errno, syscall, what);
}

template <typename Read>
std::vector<std::string> List(const char* syscall, const std::string& what, Read read) {
  std::string names;
  if (ReadSized(&names, read) < 0 && errno != ENOTSUP) ThrowErrno(errno, syscall, what);
  std::vector<std::string> list;
  for (size_t at = 0; at < names.size(); at += list.back().size() + 1) list.emplace_back(names.c_str() + at);
  return list;
}

}  // namespace

std::string EntryPath(int directory, const std::string& name) {
  return "/proc/self/fd/" + std::to_string(directory) + "/" + name;
}

std::optional<std::string> GetXattr(const std::string& path, const std::string& name) {
  return Get("lgetxattr", path, [&](char* data, size_t size) {
    return Again<::lgetxattr>(path.c_str(), name.c_str(), data, size);
  });
}

void SetXattr(const std::string& path, const std::string& name, const std::string& value) {
  if (Again<::lsetxattr>(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0)
    ThrowErrno(errno, "lsetxattr", path);
}

std::vector<std::string> ListXattrs(const std::string& path) {
  return List("llistxattr", path,
              [&](char* data, size_t size) { return Again<::llistxattr>(path.c_str(), data, size); });
}

std::optional<std::string> GetXattr(int fd, const std::string& name, const std::string& what) {
  return Get("fgetxattr", what,
             [&](char* data, size_t size) { return Again<::fgetxattr>(fd, name.c_str(), data, size); });
}

void SetXattr(int fd, const std::string& name, const std::string& value, const std::string& what) {
  if (Again<::fsetxattr>(fd, name.c_str(), value.data(), value.size(), 0) != 0)
    ThrowErrno(errno, "fsetxattr", what);
}

std::vector<std::string> ListXattrs(int fd, const std::string& what) {
  return List("flistxattr", what,
              [&](char* data, size_t size) { return Again<::flistxattr>(fd, data, size); });
}

std::optional<std::string> GetInodeXattr(int fd, const std::string& name, const std::string& what) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return Get("getxattr", what, [&](char* data, size_t size) {
    return Again<::getxattr>(path.c_str(), name.c_str(), data, size);
  });
}

std::vector<std::string> ListInodeXattrs(int fd, const std::string& what) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return List("listxattr", what,
              [&](char* data, size_t size) { return Again<::listxattr>(path.c_str(), data, size); });
}

Xattrs CopiedXattrs(int fd, const std::string& what) {
  Xattrs attributes;
  for (std::string& name : ListXattrs(fd, what)) {
    if (name.starts_with(kOverlayPrefix)) continue;
    std::optional<std::string> value = GetXattr(fd, name, what);
    if (value) attributes.emplace_back(std::move(name), std::move(*value));
  }
  return attributes;
}

void SetKnownXattrs(int fd, const Xattrs& attributes, const std::string& what) {
  for (const auto& [name, value] : attributes) {
    if (Again<::fsetxattr>(fd, name.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP)
      ThrowErrno(errno, "fsetxattr", what);
  }
}

void CopyXattrs(int from, int to, const std::string& what) {
  SetKnownXattrs(to, CopiedXattrs(from, what), what);
}

}  // namespace layerstack
