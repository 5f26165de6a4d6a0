#include "sys/resolve.h"

#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <climits>
#include <vector>

#include "sys/failure.h"
#include "sys/syscalls.h"

namespace layerstack {

namespace {

// `..` makes openat2 fail with EAGAIN when anything on the host is renamed or mounted meanwhile.
constexpr int kRaceRetries = 16;

Resolver chosen = Resolver::kProbed;

int Openat2(int dir, const char* path, int flags, mode_t mode, uint64_t resolve) {
  OpenHow how{static_cast<uint32_t>(flags) | O_CLOEXEC, (flags & O_CREAT) ? mode : 0, resolve};
  return Retry([&] { return static_cast<int>(::syscall(kSysOpenat2, dir, path, &how, sizeof how)); });
}

// The rest of the path as a stack of components, the next one last. The text of a link is pushed onto it.
class Pending {
 public:
  // False with errno set if the text as a whole is not a valid path.
  bool Push(const std::string& path) {
    if (path.size() >= PATH_MAX || parts_.size() > PATH_MAX) return Fail(ENAMETOOLONG);
    // "x/" demands a directory, as "x/." does.
    if (path.size() > 1 && path.back() == '/') parts_.push_back(".");
    for (size_t end = path.size(); end != 0;) {
      size_t slash = path.rfind('/', end - 1);
      size_t start = slash == std::string::npos ? 0 : slash + 1;
      if (start != end) parts_.push_back(path.substr(start, end - start));
      end = slash == std::string::npos ? 0 : slash;
    }
    return true;
  }
  bool Empty() const { return parts_.empty(); }
  std::string Pop() {
    std::string part = std::move(parts_.back());
    parts_.pop_back();
    return part;
  }

 private:
  static bool Fail(int errnum) {
    errno = errnum;
    return false;
  }
  std::vector<std::string> parts_;
};

UniqueFd Fail(int errnum) {
  errno = errnum;
  return UniqueFd();
}

bool ReadLink(int link, std::string* text) {
  text->resize(PATH_MAX);
  ssize_t length = Again<::readlinkat>(link, "", text->data(), text->size());
  if (length < 0) return false;
  text->resize(static_cast<size_t>(length));
  return true;
}

// One resolution without openat2. It keeps the directories on the way open, so that `..` goes back to where
// the walk came from, however the tree changes meanwhile, and never above the root.
class PathWalk {
 public:
  PathWalk(int root_fd, bool follow) : root_fd_(root_fd), follow_(follow) {}

  UniqueFd Open(const std::string& path, int flags, mode_t mode) {
    if (!pending_.Push(path)) return UniqueFd();
    while (!pending_.Empty()) {
      std::string name = pending_.Pop();
      if (name == ".") continue;
      if (name == "..") {
        if (!Up()) return UniqueFd();
        continue;
      }
      if (pending_.Empty()) {
        bool again = false;
        UniqueFd fd = Last(name, flags, mode, &again);
        if (!again) return fd;
      } else if (!Enter(name)) {
        return UniqueFd();
      }
    }
    // The path ends in "." or ".." or is the root: that directory is open already.
    if (flags & O_CREAT) return Fail((flags & O_EXCL) ? EEXIST : EISDIR);
    return UniqueFd(Again<::openat>(Here(), ".", flags | O_CLOEXEC));
  }

 private:
  int Here() const { return stack_.empty() ? root_fd_ : stack_.back().get(); }

  bool Up() {
    if (!stack_.empty()) {
      stack_.pop_back();
    } else if (!follow_) {
      errno = EXDEV;
      return false;
    }
    return true;
  }

  // Steps into `name`, or puts the target of the link before the rest of the path.
  bool Enter(const std::string& name) {
    UniqueFd fd(Again<::openat>(Here(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat st;
    if (!fd || Again<::fstat>(fd.get(), &st) != 0) return false;
    if (S_ISLNK(st.st_mode)) return Follow(fd.get());
    if (!S_ISDIR(st.st_mode)) {
      errno = ENOTDIR;
      return false;
    }
    stack_.push_back(std::move(fd));
    return true;
  }

  bool Follow(int link) {
    std::string text;
    if (!follow_ || ++links_ > kMaxLinks) {
      errno = ELOOP;
      return false;
    }
    if (!ReadLink(link, &text)) return false;
    if (text.empty()) {
      errno = ENOENT;
      return false;
    }
    if (text.front() == '/') stack_.clear();
    return pending_.Push(text);
  }

  // Opens the last component as `flags` say. Sets `*again` if it was a link: the walk continues with its
  // text.
  UniqueFd Last(const std::string& name, int flags, mode_t mode, bool* again) {
    bool may_be_link = (flags & O_NOFOLLOW) != 0 || ((flags & O_CREAT) && (flags & O_EXCL));
    for (int attempt = 0; attempt < kRaceRetries; ++attempt) {
      if (!may_be_link) {
        UniqueFd link(Again<::openat>(Here(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
        struct stat st;
        if (link && Again<::fstat>(link.get(), &st) != 0) return UniqueFd();
        if (link && S_ISLNK(st.st_mode)) {
          *again = Follow(link.get());
          return UniqueFd();
        }
      }
      int fd =
          Again<::openat>(Here(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, (flags & O_CREAT) ? mode : 0);
      if (fd < 0) {
        // It has become a link meanwhile: look again.
        if (errno == ELOOP && !may_be_link) continue;
        return UniqueFd();
      }
      UniqueFd opened(fd);
      // With O_PATH, a link that appeared meanwhile opens as itself.
      struct stat st;
      if ((flags & O_PATH) && !may_be_link && Again<::fstat>(fd, &st) == 0 && S_ISLNK(st.st_mode)) continue;
      return opened;
    }
    return Fail(ELOOP);
  }

  int root_fd_;
  bool follow_;
  int links_ = 0;
  Pending pending_;
  std::vector<UniqueFd> stack_;
};

UniqueFd Resolve(int root_fd, const std::string& path, int flags, mode_t mode, bool follow) {
  if (path.find('\0') != std::string::npos) return Fail(EINVAL);
  if (!follow && path.starts_with('/')) return Fail(EXDEV);
  const std::string name = path.empty() ? "." : path;
  if (UsesOpenat2()) {
    uint64_t resolve = follow ? kResolveInRoot | kResolveNoMagiclinks : kResolveBeneath | kResolveNoSymlinks;
    for (int attempt = 0; attempt < kRaceRetries; ++attempt) {
      int fd = Openat2(root_fd, name.c_str(), flags, mode, resolve);
      if (fd >= 0 || errno != EAGAIN) return UniqueFd(fd);
    }
    // On a host that renames all the time, the walk still ends: it does not depend on the rest of the tree.
  }
  return PathWalk(root_fd, follow).Open(name, flags, mode);
}

}  // namespace

UniqueFd OpenInRoot(int root_fd, const std::string& path, int flags, mode_t mode) {
  return Resolve(root_fd, path, flags, mode, true);
}

UniqueFd OpenBeneathNoLinks(int root_fd, const std::string& path, int flags, mode_t mode) {
  return Resolve(root_fd, path, flags, mode, false);
}

bool UsesOpenat2() {
  static const bool have = static_cast<bool>(UniqueFd(Openat2(AT_FDCWD, "/", O_PATH, 0, kResolveInRoot)));
  return have && chosen == Resolver::kProbed;
}

void SetResolver(Resolver resolver) { chosen = resolver; }

}  // namespace layerstack
