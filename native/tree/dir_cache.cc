#include "tree/dir_cache.h"

#include <fcntl.h>
#include <limits.h>

#include "sys/failure.h"
#include "sys/resolve.h"
#include "sys/thread_pool.h"
#include "tree/member_path.h"

namespace layerstack {

namespace {

constexpr size_t kCachedDirs = 64;  // depth-first tars need their depth
constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// The components of a path, the first one last.
void PushComponents(const std::string& path, std::vector<std::string>& stack) {
  size_t end = path.size();
  for (;;) {
    size_t slash = end == 0 ? std::string::npos : path.rfind('/', end - 1);
    size_t start = slash == std::string::npos ? 0 : slash + 1;
    if (end > start) stack.push_back(path.substr(start, end - start));
    if (slash == std::string::npos) return;
    end = slash;
  }
}

std::string Join(const std::string& parent, const std::string& base) {
  return parent.empty() ? base : parent + "/" + base;
}

// A parent that no member describes is 0:0 and 0755, even if the directory above hands its group down (the
// setgid bit stays, as in dockerd) or the umask is the process's.
void MakeRoots(int fd, const std::string& path) {
  struct stat status;
  if (Again<::fstat>(fd, &status) < 0) ThrowErrno(errno, "fstat", path);
  if ((status.st_uid != 0 || status.st_gid != 0) && Again<::fchown>(fd, 0, 0) < 0)
    ThrowErrno(errno, "fchown", path);
  mode_t mode = (status.st_mode & 07000) | 0755;
  if (!ThreadIsIsolated() && Again<::fchmod>(fd, mode) < 0) ThrowErrno(errno, "fchmod", path);
}

[[noreturn]] void NotThere(const std::string& path, const std::string& at, const char* why) {
  ThrowInput("ERR_LAYER_INVALID", "'" + path + "' cannot be reached: '" + at + "' " + why);
}

}  // namespace

DirCache::DirCache(UniqueFd root) {
  root_.fd = std::move(root);
  struct stat status;
  if (Again<::fstat>(root_.fd.get(), &status) < 0) ThrowErrno(errno, "fstat");
  root_.gid = status.st_gid;
  root_.set_gid = status.st_mode & S_ISGID;
}

DirCache::~DirCache() = default;

void DirCache::Restore(CachedDir& dir) {
  if (dir.changed && Again<::futimens>(dir.fd.get(), dir.times) < 0) ThrowErrno(errno, "futimens", dir.path);
  dir.changed = false;
}

void DirCache::Clear() {
  for (CachedDir& dir : recent_) Restore(dir);
  by_path_.clear();
  recent_.clear();
}

void DirCache::Forget(const std::string& path) {
  std::string below = path + "/";
  for (auto dir = recent_.begin(); dir != recent_.end();) {
    if (dir->path == path || dir->path.compare(0, below.size(), below) == 0) {
      by_path_.erase(dir->path);
      dir = recent_.erase(dir);
    } else {
      ++dir;
    }
  }
}

CachedDir* DirCache::Lookup(const std::string& path) {
  if (path.empty()) return &root_;
  if (!recent_.empty() && recent_.front().path == path) return &recent_.front();
  auto found = by_path_.find(path);
  if (found == by_path_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return &recent_.front();
}

CachedDir& DirCache::Enter(UniqueFd fd, std::string path) {
  struct stat status;
  if (Again<::fstat>(fd.get(), &status) < 0) ThrowErrno(errno, "fstat", path);
  if (recent_.size() >= kCachedDirs) {
    Restore(recent_.back());
    by_path_.erase(recent_.back().path);
    recent_.pop_back();
  }
  CachedDir& dir = recent_.emplace_front();
  dir.fd = std::move(fd);
  dir.path = std::move(path);
  dir.times[0] = status.st_atim;
  dir.times[1] = status.st_mtim;
  dir.gid = status.st_gid;
  dir.set_gid = status.st_mode & S_ISGID;
  by_path_.emplace(dir.path, recent_.begin());
  return dir;
}

CachedDir& DirCache::Reopen(const std::string& path) {
  if (CachedDir* dir = Lookup(path)) return *dir;
  UniqueFd fd = OpenBeneathNoLinks(root_.fd.get(), path, kDirFlags);
  if (!fd) ThrowErrno(errno, "open", path);
  return Enter(std::move(fd), path);
}

DirCache::Found DirCache::Open(const std::string& path, bool create) {
  // A cached path is a directory, and so is everything above it: start at the nearest.
  std::string at = path;
  CachedDir* dir = Lookup(at);
  while (dir == nullptr) {
    at = SplitMemberPath(at).parent;
    dir = Lookup(at);
  }
  std::vector<std::string> todo;
  PushComponents(path.substr(at.size()), todo);
  size_t own = todo.size();  // the lowest `own` components are the path's, those above come from links
  int links = 0;
  while (!todo.empty()) {
    std::string name = std::move(todo.back());
    todo.pop_back();
    bool from_link = todo.size() >= own;
    if (!from_link) own = todo.size();
    if (name == ".") continue;
    if (name == "..") {
      dir = &Reopen(dir->path.empty() ? "" : SplitMemberPath(dir->path).parent);
      continue;
    }
    std::string next = Join(dir->path, name);
    if (next.size() >= PATH_MAX) {
      ThrowInput("ERR_LIMIT_EXCEEDED", "'" + path + "' leads to a path longer than the kernel takes",
                 {{"limit", std::to_string(PATH_MAX)}});
    }
    if (CachedDir* cached = Lookup(next)) {
      dir = cached;
      continue;
    }
    int parent = dir->fd.get();
    UniqueFd fd(Again<::openat>(parent, name.c_str(), kDirFlags));
    if (!fd && errno == ENOENT) {
      if (!create || from_link) NotThere(path, next, "does not exist in this layer");
      dir->changed = true;
      if (Again<::mkdirat>(parent, name.c_str(), 0755) < 0) ThrowErrno(errno, "mkdir", next);
      fd.reset(Again<::openat>(parent, name.c_str(), kDirFlags));
      if (fd) MakeRoots(fd.get(), next);
    }
    if (fd) {
      dir = &Enter(std::move(fd), std::move(next));
      continue;
    }
    if (errno != ENOTDIR && errno != ELOOP) ThrowErrno(errno, "open", next);
    char target[PATH_MAX];
    ssize_t length = Again<::readlinkat>(parent, name.c_str(), target, sizeof target);
    if (length < 0) NotThere(path, next, "is not a directory");
    if (++links > kMaxLinks) NotThere(path, next, "is one of too many links");
    if (length > 0 && target[0] == '/') dir = &root_;
    PushComponents(std::string(target, static_cast<size_t>(length)), todo);
  }
  return {dir, links > 0};
}

}  // namespace layerstack
