#include "tree/remove.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/resolve.h"

namespace layerstack {

namespace {

constexpr size_t kMaxOpen = 28;
// How often a directory is read again if it is not empty after its entries were removed. A file system may
// skip entries of a directory that shrinks while it is read, and other processes may add some.
constexpr int kMaxPasses = 8;

class Remover {
 public:
  Remover(int parent, std::string base, std::string full)
      : top_(parent), base_(std::move(base)), full_(std::move(full)) {}

  int64_t Run() {
    if (RemoveOne(top_, base_, DT_DIR)) Enter(top_, base_);
    while (!frames_.empty()) {
      Frame& frame = frames_.back();
      if (!frame.todo.empty()) {
        std::string name = std::move(frame.todo.back());
        frame.todo.pop_back();
        Enter(frame.fd.get(), std::move(name));
      } else {
        Leave();
      }
    }
    return removed_;
  }

 private:
  struct Frame {
    std::string name;
    UniqueFd fd;  // empty while too many others are open; never in the last frame
    dev_t dev;
    ino_t ino;
    std::vector<std::string> todo;  // directories in it that are not empty
    int passes;
  };

  // Removes a directory entry. True if it is a directory that is not empty. Tries rmdir(2) first: it removes
  // an empty directory in one call, and gives EBUSY for a mount point before anything in it is touched, even
  // if the mount is of the same file system and so does not show in st_dev.
  bool RemoveOne(int dir, const std::string& name, unsigned char type) {
    bool rmdir = type == DT_DIR;
    for (int attempt = 0; attempt < 4; ++attempt) {
      if (Again<::unlinkat>(dir, name.c_str(), rmdir ? AT_REMOVEDIR : 0) == 0) {
        ++removed_;
        return false;
      }
      if (errno == ENOENT) return false;
      if (rmdir && (errno == ENOTEMPTY || errno == EEXIST)) return true;
      // The type was unknown, or has changed.
      if (rmdir && errno == ENOTDIR) {
        rmdir = false;
      } else if (!rmdir && (errno == EISDIR || (errno == EPERM && IsDirectory(dir, name)))) {
        rmdir = true;
      } else {
        break;
      }
    }
    ThrowErrno(errno, rmdir ? "rmdir" : "unlink", Path(name));
  }

  // unlink(2) of a directory is EISDIR on Linux, EPERM by POSIX.
  static bool IsDirectory(int dir, const std::string& name) {
    struct stat st;
    bool directory =
        Again<::fstatat>(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    errno = EPERM;
    return directory;
  }

  void Enter(int dir, std::string name) {
    UniqueFd fd(Again<::openat>(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) {
      if (errno == ENOENT) return;
      ThrowErrno(errno, "open", Path(name));
    }
    struct stat st;
    if (Again<::fstat>(fd.get(), &st) != 0) ThrowErrno(errno, "fstat", Path(name));
    frames_.push_back({std::move(name), std::move(fd), st.st_dev, st.st_ino, {}, 0});
    if (frames_.size() > kMaxOpen) frames_[frames_.size() - kMaxOpen - 1].fd.reset();
    Empty();
  }

  // Removes everything in the last frame except directories that are not empty, which become its to-do.
  void Empty() {
    Frame& frame = frames_.back();
    ++frame.passes;
    int fd = frame.fd.get();
    Dirents entries(fd);
    for (;;) {
      std::vector<Dirents::Entry>& piece = entries.Next();
      if (piece.empty()) break;
      // In the order of inodes: neighbours in the inode table are then freed together.
      std::sort(piece.begin(), piece.end(), [](const auto& a, const auto& b) { return a.inode < b.inode; });
      for (const Dirents::Entry& entry : piece) {
        if (RemoveOne(fd, entry.name, entry.type)) frame.todo.emplace_back(entry.name);
      }
    }
    if (errno != 0) ThrowErrno(errno, "getdents64", Path(""));
  }

  // Removes the directory of the last frame, which has no more to-do.
  void Leave() {
    size_t last = frames_.size() - 1;
    int dir = last == 0 ? top_ : Reopen(last - 1, frames_[last].fd.get());
    if (RemoveOne(dir, frames_[last].name, DT_DIR)) {
      if (frames_[last].passes >= kMaxPasses) ThrowErrno(ENOTEMPTY, "rmdir", Path(""));
      if (Again<::lseek>(frames_[last].fd.get(), 0, SEEK_SET) != 0) ThrowErrno(errno, "lseek", Path(""));
      Empty();
      return;
    }
    frames_.pop_back();
  }

  // The fd of a frame. If it was closed to save fds, opens `..` of the directory in it, which must lead to
  // the same directory.
  int Reopen(size_t index, int child) {
    Frame& frame = frames_[index];
    if (!frame.fd) {
      UniqueFd fd(Again<::openat>(child, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      struct stat st;
      if (!fd || Again<::fstat>(fd.get(), &st) != 0) ThrowErrno(errno, "open", Path(".."));
      if (st.st_dev != frame.dev || st.st_ino != frame.ino) ThrowErrno(ESTALE, "open", Path(".."));
      frame.fd = std::move(fd);
    }
    return frame.fd.get();
  }

  // For messages: where `name` in the last frame is.
  std::string Path(const std::string& name) const {
    std::string path = full_;
    for (size_t i = 1; i < frames_.size(); ++i) path += "/" + frames_[i].name;
    if (!frames_.empty() && !name.empty()) path += "/" + name;
    return path;
  }

  int top_;
  std::string base_;
  std::string full_;
  std::vector<Frame> frames_;
  int64_t removed_ = 0;
};

}  // namespace

int64_t RemoveTree(const std::string& root, const std::string& path) {
  UniqueFd root_fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) ThrowErrno(errno, "open", root);
  const std::string full = root + "/" + path;
  size_t slash = path.rfind('/');
  std::string base = slash == std::string::npos ? path : path.substr(slash + 1);
  if (base.empty() || base == "." || base == "..") ThrowErrno(EINVAL, "unlink", full);
  UniqueFd parent = OpenInRoot(root_fd.get(), slash == std::string::npos ? "" : path.substr(0, slash),
                               O_PATH | O_DIRECTORY);
  if (!parent) {
    if (errno == ENOENT) return 0;
    ThrowErrno(errno, "open", full);
  }
  return RemoveTreeAt(parent.get(), base, full);
}

int64_t RemoveTreeAt(int dir, const std::string& name, const std::string& full) {
  return Remover(dir, name, full).Run();
}

}  // namespace layerstack
