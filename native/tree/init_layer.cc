#include "tree/init_layer.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/resolve.h"
#include "sys/thread_pool.h"
#include "sys/xattrs.h"
#include "tree/merged.h"

namespace layerstack {

namespace {

constexpr mode_t kMode = 0755;

struct Wanted {
  const char* name;
  enum Kind { kDirectory, kFile, kLink } kind;
  const char* target;  // of a link
};

constexpr Wanted kRoot[] = {{"proc", Wanted::kDirectory, nullptr},
                            {"sys", Wanted::kDirectory, nullptr},
                            {".dockerenv", Wanted::kFile, nullptr}};
constexpr Wanted kDev[] = {{"pts", Wanted::kDirectory, nullptr},
                           {"shm", Wanted::kDirectory, nullptr},
                           {"console", Wanted::kFile, nullptr}};
constexpr Wanted kEtc[] = {{"resolv.conf", Wanted::kFile, nullptr},
                           {"hosts", Wanted::kFile, nullptr},
                           {"hostname", Wanted::kFile, nullptr},
                           {"mtab", Wanted::kLink, "/proc/mounts"}};

// A directory of the merged view of image and init layer, while the init layer grows.
class InitDir {
 public:
  // The root, whose upper exists.
  InitDir(MergedDir lower, UniqueFd upper, std::string path)
      : lower_(std::move(lower)),
        has_lower_(lower_.layers() > 0),
        upper_(std::move(upper)),
        path_(std::move(path)) {}

  void Ensure(const Wanted& wanted) {
    // dockerd unlinks everything except a directory. A directory stays, even where a file or link is wanted.
    if (MergedDir::Found found = Look(wanted.name); !found.below) Make(wanted, found.exists);
  }

  // The directory `name` in this one, made if it is missing.
  InitDir Child(const std::string& name) { return Child(name, Look(name)); }

  InitDir Child(const std::string& name, MergedDir::Found found) {
    InitDir child(this, name);
    if (found.below) {
      child.lower_ = std::move(*found.below);
      child.has_lower_ = true;
    } else {
      child.upper_ = Make({name.c_str(), Wanted::kDirectory, nullptr}, found.exists);
    }
    return child;
  }

  MergedDir::Found Look(const std::string& name) const {
    return has_lower_ ? lower_.Lookup(name) : MergedDir::Found();
  }

  // The text of a link that Look has found.
  std::string ReadLink(const std::string& name, const MergedDir::Found& found) const {
    std::string text(PATH_MAX, '\0');
    const ssize_t length = Again<::readlinkat>(lower_.fd(found.layer), name.c_str(), &text[0], text.size());
    if (length < 0) ThrowErrno(errno, "readlink", lower_.path(found.layer) + "/" + name);
    text.resize(static_cast<size_t>(length));
    return text;
  }

  const std::string& path() const { return path_; }

 private:
  InitDir(InitDir* parent, const std::string& name)
      : parent_(parent), name_(name), path_(parent->path_ + "/" + name) {}

  // Makes an entry in the upper, owned by root, and returns the fd of a directory. `replaces`: it replaces
  // something of the image that is not a directory.
  UniqueFd Make(const Wanted& wanted, bool replaces) {
    CopyUp();
    const int dir = upper_.get();
    const char* name = wanted.name;
    const std::string path = path_ + "/" + name;
    UniqueFd fd;
    switch (wanted.kind) {
      case Wanted::kDirectory:
        if (Again<::mkdirat>(dir, name, kMode) != 0) ThrowErrno(errno, "mkdir", path);
        fd.reset(Again<::openat>(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd) ThrowErrno(errno, "open", path);
        // Else it would merge with a directory that the replaced entry has hidden.
        if (replaces) SetXattr(fd.get(), "trusted.overlay.opaque", "y", path);
        break;
      case Wanted::kFile:
        fd.reset(Again<::openat>(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
        if (!fd) ThrowErrno(errno, "open", path);
        break;
      case Wanted::kLink:
        // dockerd does not chown links, so below a setgid directory of the image a link keeps that
        // directory's group.
        if (Again<::symlinkat>(wanted.target, dir, name) != 0)
          ThrowErrno(errno, "symlink", wanted.target, path);
        return fd;
    }
    // Root owns it already, except below a setgid directory of the image.
    struct stat st;
    if (Again<::fstat>(fd.get(), &st) != 0) ThrowErrno(errno, "fstat", path);
    if ((st.st_uid != 0 || st.st_gid != 0) && Again<::fchown>(fd.get(), 0, 0) != 0)
      ThrowErrno(errno, "fchown", path);
    if (!ThreadIsIsolated() && Again<::fchmod>(fd.get(), kMode) != 0)
      ThrowErrno(errno, "fchmod", path);  // the umask's bits
    return fd;
  }

  // Makes the directory in the upper, with the owner, mode and attributes of the image's. Its times do not
  // matter, since an entry is about to be made in it.
  void CopyUp() {
    if (upper_) return;
    parent_->CopyUp();
    const int dir = parent_->upper_.get();
    struct stat st;
    if (Again<::fstat>(lower_.fd(0), &st) != 0) ThrowErrno(errno, "fstat", lower_.path());
    if (Again<::mkdirat>(dir, name_.c_str(), 0700) != 0) ThrowErrno(errno, "mkdir", path_);
    UniqueFd fd(Again<::openat>(dir, name_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) ThrowErrno(errno, "open", path_);
    if (Again<::fchown>(fd.get(), st.st_uid, st.st_gid) != 0) ThrowErrno(errno, "fchown", path_);
    CopyXattrs(lower_.fd(0), fd.get(), path_);
    if (Again<::fchmod>(fd.get(), st.st_mode & 07777) != 0) ThrowErrno(errno, "fchmod", path_);
    upper_ = std::move(fd);
  }

  InitDir* parent_ = nullptr;
  std::string name_;
  MergedDir lower_;
  bool has_lower_ = false;
  UniqueFd upper_;  // empty until something is made in it
  std::string path_;
};

UniqueFd OpenImageRoot(const std::string& root) {
  UniqueFd fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) ThrowErrno(errno, "open", root);
  return fd;
}

// The root of the view of `upper` over `lowers`.
InitDir Top(int root_fd, const std::string& root, const std::vector<std::string>& lowers,
            const std::string& upper) {
  const std::string path = root + "/" + upper;
  UniqueFd upper_fd = OpenInRoot(root_fd, upper, O_RDONLY | O_DIRECTORY);
  if (!upper_fd) ThrowErrno(errno, "open", path);
  return InitDir(MergedDir(root_fd, root, lowers), std::move(upper_fd), path);
}

// Puts the components of `path` on the stack, the first one on top.
void PushComponents(const std::string& path, std::vector<std::string>* stack) {
  for (size_t end = path.size(); end > 0;) {
    const size_t slash = path.rfind('/', end - 1);
    const size_t start = slash == std::string::npos ? 0 : slash + 1;
    if (start < end) stack->push_back(path.substr(start, end - start));
    if (slash == std::string::npos) break;
    end = slash;
  }
}

}  // namespace

void MakeDirectory(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper,
                   const std::string& path) {
  if (path.size() >= PATH_MAX) ThrowErrno(ENAMETOOLONG, "mkdir", root + "/" + upper);
  const UniqueFd root_fd = OpenImageRoot(root);
  // The directories from the root of the view down to where the walk is. Each points to the one above it.
  std::vector<std::unique_ptr<InitDir>> walk;
  walk.push_back(std::make_unique<InitDir>(Top(root_fd.get(), root, lowers, upper)));
  std::vector<std::string> ahead;
  PushComponents(path, &ahead);
  int links = 0;
  while (!ahead.empty()) {
    const std::string name = std::move(ahead.back());
    ahead.pop_back();
    if (name == ".") continue;
    if (name == "..") {
      if (walk.size() > 1) walk.pop_back();
      continue;
    }
    InitDir& dir = *walk.back();
    MergedDir::Found found = dir.Look(name);
    if (found.exists && S_ISLNK(found.st.st_mode)) {
      if (++links > kMaxLinks) ThrowErrno(ELOOP, "mkdir", dir.path() + "/" + name);
      const std::string target = dir.ReadLink(name, found);
      if (!target.empty() && target[0] == '/') walk.resize(1);
      PushComponents(target, &ahead);
      continue;
    }
    if (found.exists && !found.below) ThrowErrno(ENOTDIR, "mkdir", dir.path() + "/" + name);
    walk.push_back(std::make_unique<InitDir>(dir.Child(name, std::move(found))));
  }
}

void PopulateInit(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper) {
  const UniqueFd root_fd = OpenImageRoot(root);
  InitDir top = Top(root_fd.get(), root, lowers, upper);
  for (const Wanted& wanted : kRoot) top.Ensure(wanted);
  InitDir dev = top.Child("dev");
  for (const Wanted& wanted : kDev) dev.Ensure(wanted);
  InitDir etc = top.Child("etc");
  for (const Wanted& wanted : kEtc) etc.Ensure(wanted);
}

}  // namespace layerstack
