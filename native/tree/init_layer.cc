#include "tree/init_layer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/fd.h"
#include "sys/failure.h"
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
  // The root: the upper is there.
  InitDir(MergedDir lower, UniqueFd upper, std::string path)
      : lower_(std::move(lower)), has_lower_(lower_.layers() > 0), upper_(std::move(upper)), path_(std::move(path)) {}

  void Ensure(const Wanted& wanted) {
    // What is no directory has been unlinked; a directory stays, whatever was wanted.
    if (MergedDir::Found found = Look(wanted.name); !found.below) Make(wanted, found.exists);
  }

  // The directory `name` in this one, made if it is missing.
  InitDir Child(const char* name) {
    MergedDir::Found found = Look(name);
    InitDir child(this, name);
    if (found.below) {
      child.lower_ = std::move(*found.below);
      child.has_lower_ = true;
    } else {
      child.upper_ = Make({name, Wanted::kDirectory, nullptr}, found.exists);
    }
    return child;
  }

 private:
  InitDir(InitDir* parent, const char* name) : parent_(parent), name_(name), path_(parent->path_ + "/" + name) {}

  MergedDir::Found Look(const char* name) const { return has_lower_ ? lower_.Lookup(name) : MergedDir::Found(); }

  // Makes an entry in the upper as root's, and returns the fd of a directory. `replaces`: something of the image,
  // which has no directory by that name.
  UniqueFd Make(const Wanted& wanted, bool replaces) {
    CopyUp();
    const int dir = upper_.get();
    const char* name = wanted.name;
    const std::string path = path_ + "/" + name;
    UniqueFd fd;
    switch (wanted.kind) {
      case Wanted::kDirectory:
        if (::mkdirat(dir, name, kMode) != 0) ThrowErrno(errno, "mkdir", path);
        fd.reset(::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd) ThrowErrno(errno, "open", path);
        // Else it would merge with a directory that what it replaces has hidden.
        if (replaces) SetXattr(fd.get(), "trusted.overlay.opaque", "y", path);
        break;
      case Wanted::kFile:
        fd.reset(::openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
        if (!fd) ThrowErrno(errno, "open", path);
        break;
      case Wanted::kLink:
        // dockerd chowns no link, so below a setgid directory of the image it keeps that one's group.
        if (::symlinkat(wanted.target, dir, name) != 0) ThrowErrno(errno, "symlink", wanted.target, path);
        return fd;
    }
    // It is root's already, but below a setgid directory of the image.
    struct stat st;
    if (::fstat(fd.get(), &st) != 0) ThrowErrno(errno, "fstat", path);
    if ((st.st_uid != 0 || st.st_gid != 0) && ::fchown(fd.get(), 0, 0) != 0) ThrowErrno(errno, "fchown", path);
    if (!ThreadIsIsolated() && ::fchmod(fd.get(), kMode) != 0) ThrowErrno(errno, "fchmod", path);  // the umask's bits
    return fd;
  }

  // Gives the directory an upper with the owner, mode and attributes of the image's. Its times need no care: something
  // is about to be made in it.
  void CopyUp() {
    if (upper_) return;
    parent_->CopyUp();
    const int dir = parent_->upper_.get();
    struct stat st;
    if (::fstat(lower_.fd(0), &st) != 0) ThrowErrno(errno, "fstat", lower_.path());
    if (::mkdirat(dir, name_, 0700) != 0) ThrowErrno(errno, "mkdir", path_);
    UniqueFd fd(::openat(dir, name_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) ThrowErrno(errno, "open", path_);
    if (::fchown(fd.get(), st.st_uid, st.st_gid) != 0) ThrowErrno(errno, "fchown", path_);
    CopyXattrs(lower_.fd(0), fd.get(), path_);
    if (::fchmod(fd.get(), st.st_mode & 07777) != 0) ThrowErrno(errno, "fchmod", path_);
    upper_ = std::move(fd);
  }

  InitDir* parent_ = nullptr;
  const char* name_ = nullptr;
  MergedDir lower_;
  bool has_lower_ = false;
  UniqueFd upper_;  // empty until something is made in it
  std::string path_;
};

}  // namespace

void PopulateInit(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper) {
  UniqueFd root_fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) ThrowErrno(errno, "open", root);
  const std::string path = root + "/" + upper;
  UniqueFd upper_fd = OpenInRoot(root_fd.get(), upper, O_RDONLY | O_DIRECTORY);
  if (!upper_fd) ThrowErrno(errno, "open", path);

  InitDir top(MergedDir(root_fd.get(), root, lowers), std::move(upper_fd), path);
  for (const Wanted& wanted : kRoot) top.Ensure(wanted);
  InitDir dev = top.Child("dev");
  for (const Wanted& wanted : kDev) dev.Ensure(wanted);
  InitDir etc = top.Child("etc");
  for (const Wanted& wanted : kEtc) etc.Ensure(wanted);
}

}  // namespace layerstack
