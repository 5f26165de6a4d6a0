#include "sys/store_entry.h"

#include <fcntl.h>
#include <unistd.h>

#include <climits>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/resolve.h"
#include "sys/whole_io.h"

namespace layerstack {

namespace {

int TopFd() {
  static const UniqueFd top(Again<::open>("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  return top.get();
}

std::string BelowTop(const std::string& path) {
  size_t start = path.find_first_not_of('/');
  return start == std::string::npos ? std::string() : path.substr(start);
}

// Empty with errno set on failure. Throws only for a link.
UniqueFd TryOpen(const std::string& path, int flags, mode_t mode = 0) {
  if (!path.starts_with('/')) ThrowErrno(EINVAL, "open", path);
  const std::string below = BelowTop(path);
  UniqueFd fd = OpenBeneathNoLinks(TopFd(), below, flags, mode);
  if (!fd && errno == ELOOP) ThrowLink(TopFd(), "", below);
  return fd;
}

const char* KindOf(mode_t mode) {
  if (S_ISREG(mode)) return "a file";
  if (S_ISFIFO(mode)) return "a fifo";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISBLK(mode)) return "a block device";
  return S_ISDIR(mode) ? "a directory" : "something else";
}

[[noreturn]] void ThrowKind(const std::string& path, const char* expected, mode_t mode) {
  ThrowInput("ERR_STORE_CORRUPT",
             path + " is " + KindOf(mode) + ", and the store has " + expected +
                 " there: find out which program made it, and remove it",
             {{"path", path}, {"expected", expected}, {"found", KindOf(mode)}});
}

struct stat FileStat(int fd, const std::string& path) {
  struct stat st;
  if (Again<::fstat>(fd, &st) != 0) ThrowErrno(errno, "fstat", path);
  if (S_ISDIR(st.st_mode)) ThrowErrno(EISDIR, "read", path);
  if (!S_ISREG(st.st_mode)) ThrowKind(path, "a file", st.st_mode);
  return st;
}

// A file opened as `flags` say. Empty with errno ENOENT. Throws on any other error.
UniqueFd TryOpenFile(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd = TryOpen(path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode);
  if (!fd && errno == ENOENT) return fd;
  if (!fd) {
    int error = errno;
    // A socket, a fifo without a reader, or a device without a driver.
    if (error == ENXIO || error == ENODEV) {
      if (auto st = StatEntry(path)) ThrowKind(path, "a file", st->st_mode);
    }
    ThrowErrno(error, "open", path);
  }
  FileStat(fd.get(), path);
  return fd;
}

}  // namespace

void ThrowLink(int base_fd, const std::string& base, const std::string& path) {
  for (size_t end = path.find('/');; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    UniqueFd fd = OpenBeneathNoLinks(base_fd, part, O_PATH | O_NOFOLLOW);
    struct stat st;
    if (fd && Again<::fstat>(fd.get(), &st) == 0 && S_ISLNK(st.st_mode))
      ThrowInput("ERR_STORE_CORRUPT",
                 base + "/" + part +
                     " is a symbolic link, and no link is followed there: find out which program made it, "
                     "and remove it",
                 {{"path", base + "/" + part}, {"expected", "no link"}, {"found", "a symbolic link"}});
    if (!fd || end == std::string::npos) ThrowErrno(ELOOP, "open", base + "/" + path);
  }
}

void ThrowNoDirectory(const std::string& path, mode_t mode) { ThrowKind(path, "a directory", mode); }

std::optional<struct stat> StatEntry(const std::string& path) {
  UniqueFd fd = TryOpen(path, O_PATH | O_NOFOLLOW);
  if (!fd && errno == ENOENT) return std::nullopt;
  struct stat st;
  if (!fd || Again<::fstat>(fd.get(), &st) != 0) ThrowErrno(errno, "stat", path);
  return st;
}

std::optional<std::string> ReadEntry(const std::string& path, size_t limit) {
  UniqueFd fd = TryOpenFile(path, O_RDONLY, 0);
  if (!fd) return std::nullopt;
  const auto size = static_cast<size_t>(FileStat(fd.get(), path).st_size);
  std::string text;
  if (size <= limit) {
    // One byte more than the file has: then the first read also shows the end.
    text.resize(size + 1);
    ssize_t length = Again<::read>(fd.get(), text.data(), text.size());
    if (length < 0) ThrowErrno(errno, "read", path);
    text.resize(static_cast<size_t>(length));
    if (text.size() > size && !ReadAll(fd.get(), limit, &text)) ThrowErrno(errno, "read", path);
  }
  if (size > limit || text.size() > limit)
    ThrowInput(
        "ERR_STORE_CORRUPT",
        path + ": it has " + std::to_string(size) + " bytes; " + std::to_string(limit) + " are allowed",
        {{"path", path}, {"found", std::to_string(size)}, {"limit", std::to_string(limit)}});
  return text;
}

std::optional<std::string> ReadEntryLink(const std::string& path) {
  UniqueFd fd = TryOpen(path, O_PATH | O_NOFOLLOW);
  if (!fd && errno == ENOENT) return std::nullopt;
  std::string text(PATH_MAX, '\0');
  struct stat st;
  if (!fd || Again<::fstat>(fd.get(), &st) != 0) ThrowErrno(errno, "readlink", path);
  if (!S_ISLNK(st.st_mode)) ThrowErrno(EINVAL, "readlink", path);
  ssize_t length = Again<::readlinkat>(fd.get(), "", text.data(), text.size());
  if (length < 0) ThrowErrno(errno, "readlink", path);
  text.resize(static_cast<size_t>(length));
  return text;
}

std::optional<std::vector<std::string>> ListEntry(const std::string& path) {
  UniqueFd fd = TryOpen(path, O_RDONLY | O_DIRECTORY);
  if (!fd && errno == ENOENT) return std::nullopt;
  if (!fd) ThrowErrno(errno, "open", path);
  std::vector<std::string> names;
  Dirents dirents(fd.get());
  for (;;) {
    const auto& piece = dirents.Next();
    if (piece.empty()) break;
    for (const Dirents::Entry& entry : piece) names.emplace_back(entry.name);
  }
  if (errno != 0) ThrowErrno(errno, "getdents64", path);
  return names;
}

UniqueFd OpenEntryFile(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd = TryOpenFile(path, flags, mode);
  if (!fd) ThrowErrno(errno, "open", path);
  return fd;
}

UniqueFd OpenEntry(const std::string& path, int flags) {
  UniqueFd fd = TryOpen(path, flags);
  if (!fd) ThrowErrno(errno, "open", path);
  return fd;
}

}  // namespace layerstack
