#include "tree/copy_upper.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <utility>
#include <vector>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/resolve.h"
#include "tree/copy_node.h"
#include "tree/remove.h"

namespace layerstack {

namespace {

constexpr int kTries = 4;

using FileId = std::pair<dev_t, ino_t>;

FileId IdOf(const struct stat& st) { return {st.st_dev, st.st_ino}; }

// Whether an entry has vanished or become another kind of file since it was listed.
bool IsGone(int errnum) {
  return errnum == ENOENT || errnum == ELOOP || errnum == ENXIO || errnum == ENOTDIR || errnum == EINVAL;
}

class Copier {
 public:
  Copier(int from, int parent, std::string name, std::string path)
      : from_(from), parent_(parent), name_(std::move(name)), path_(std::move(path)) {}

  // Returns whether no directory changed meanwhile.
  bool Run() {
    std::vector<Level> stack;
    UniqueFd from(Again<::openat>(from_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!from) ThrowErrno(errno, "open", path_);
    stack.push_back(Open(std::move(from), parent_, name_, ""));
    UniqueFd root(Again<::fcntl>(stack.back().to.get(), F_DUPFD_CLOEXEC, 0));
    if (!root) ThrowErrno(errno, "fcntl", path_);
    root_ = std::move(root);
    while (!stack.empty()) {
      Level& level = stack.back();
      if (level.names.empty()) {
        Finish(level);
        stack.pop_back();
        continue;
      }
      const std::string name = std::move(level.names.back().name);
      level.names.pop_back();
      if (std::optional<Level> below = Copy(level, name)) stack.push_back(std::move(*below));
    }
    return IsUnchanged();
  }

 private:
  struct Level {
    UniqueFd from;
    UniqueFd to;
    std::string path;  // relative; empty for the top
    struct stat st;
    std::vector<DirectoryEntry> names;
  };

  std::string Full(const std::string& path) const { return path.empty() ? path_ : path_ + "/" + path; }

  Level Open(UniqueFd from, int parent, const std::string& name, std::string path) {
    Level level{std::move(from), UniqueFd(), std::move(path), {}, {}};
    const std::string full = Full(level.path);
    if (Again<::fstat>(level.from.get(), &level.st) != 0) ThrowErrno(errno, "fstat", full);
    changed_[IdOf(level.st)] = level.st.st_ctim;
    if (Again<::mkdirat>(parent, name.c_str(), 0700) != 0) ThrowErrno(errno, "mkdir", full);
    level.to.reset(Again<::openat>(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!level.to) ThrowErrno(errno, "open", full);
    level.names = SortedEntries(level.from.get(), full);
    return level;
  }

  // Gives a directory its attributes. This comes last, else new entries inherit its default ACL and group.
  void Finish(const Level& level) const {
    const std::string full = Full(level.path);
    const int to = level.to.get();
    if (Again<::fchown>(to, level.st.st_uid, level.st.st_gid) != 0) ThrowErrno(errno, "fchown", full);
    CopyAttributes(level.from.get(), to, full, OverlayMarks::kCopy);
    if (Again<::fchmod>(to, level.st.st_mode & 07777) != 0) ThrowErrno(errno, "fchmod", full);
    CopyTimes(to, ".", level.st, 0, full);
  }

  // Copies an entry. Returns a directory, which the caller copies next.
  std::optional<Level> Copy(const Level& level, const std::string& name) {
    const std::string path = level.path.empty() ? name : level.path + "/" + name;
    struct stat st;
    if (Again<::fstatat>(level.from.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return std::nullopt;
      ThrowErrno(errno, "stat", Full(path));
    }
    if (S_ISDIR(st.st_mode)) {
      UniqueFd below(
          Again<::openat>(level.from.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (below) return Open(std::move(below), level.to.get(), name, path);
      if (!IsGone(errno)) ThrowErrno(errno, "open", Full(path));
      return std::nullopt;
    }
    if (st.st_nlink > 1 && LinkCopy(level, name, path, st)) return std::nullopt;
    try {
      CopyNode(level.from.get(), level.to.get(), name, st, Full(path), OverlayMarks::kCopy);
    } catch (const Failure& failure) {
      if (!IsGone(failure.errnum)) throw;
      gone_ = true;
    }
    return std::nullopt;
  }

  // Makes the copy a hard link to the copy of another name of the file. False if this is the first one.
  bool LinkCopy(const Level& level, const std::string& name, const std::string& path, const struct stat& st) {
    const auto [first, fresh] = links_.try_emplace(IdOf(st), path);
    if (fresh) return false;
    if (Again<::linkat>(root_.get(), first->second.c_str(), level.to.get(), name.c_str(), 0) == 0)
      return true;
    // Too many links, a path that is too long, or a first name that vanished before it was copied.
    if (errno != EMLINK && errno != ENAMETOOLONG && errno != ENOENT) ThrowErrno(errno, "link", Full(path));
    return false;
  }

  // A directory that gains or loses an entry changes its time. So a move from an unread directory to a read
  // one is noticed.
  bool IsUnchanged() {
    if (gone_) return false;
    std::vector<UniqueFd> stack;
    stack.emplace_back(Again<::openat>(from_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    size_t seen = 0;
    while (!stack.empty()) {
      const UniqueFd dir = std::move(stack.back());
      stack.pop_back();
      struct stat st;
      if (!dir || Again<::fstat>(dir.get(), &st) != 0) return false;
      const auto known = changed_.find(IdOf(st));
      if (known == changed_.end() || known->second.tv_sec != st.st_ctim.tv_sec ||
          known->second.tv_nsec != st.st_ctim.tv_nsec)
        return false;
      ++seen;
      for (const DirectoryEntry& entry : SortedEntries(dir.get(), path_)) {
        if (entry.type != DT_DIR && entry.type != DT_UNKNOWN) continue;
        UniqueFd below(
            Again<::openat>(dir.get(), entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (below)
          stack.push_back(std::move(below));
        else if (entry.type == DT_DIR)
          return false;
      }
    }
    return seen == changed_.size();
  }

  const int from_;
  const int parent_;
  const std::string name_;
  const std::string path_;  // of the copy, absolute
  UniqueFd root_;
  std::map<FileId, timespec> changed_;  // of the directories, before they were read
  std::map<FileId, std::string> links_;
  bool gone_ = false;
};

}  // namespace

void CopyUpper(const std::string& root, const std::string& from, const std::string& to) {
  UniqueFd base(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!base) ThrowErrno(errno, "open", root);
  UniqueFd source = OpenBeneathNoLinks(base.get(), from, O_PATH | O_DIRECTORY);
  if (!source) ThrowErrno(errno, "open", root + "/" + from);
  const size_t slash = to.rfind('/');
  const std::string name = slash == std::string::npos ? to : to.substr(slash + 1);
  UniqueFd parent = OpenBeneathNoLinks(base.get(), slash == std::string::npos ? "." : to.substr(0, slash),
                                       O_PATH | O_DIRECTORY);
  if (!parent) ThrowErrno(errno, "open", root + "/" + to);
  for (int tries = 0; tries < kTries; ++tries) {
    if (Copier(source.get(), parent.get(), name, root + "/" + to).Run()) return;
    RemoveTree(root, to);
  }
  ThrowInput("ERR_CONTAINER_BUSY",
             "files are made, moved or removed in " + root + "/" + from +
                 " while they are copied: freeze or stop the processes that do it",
             {{"path", root + "/" + from}});
}

}  // namespace layerstack
