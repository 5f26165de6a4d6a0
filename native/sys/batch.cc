#include "sys/batch.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>

#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/resolve.h"
#include "sys/store_entry.h"
#include "sys/thread_pool.h"
#include "sys/whole_io.h"

namespace layerstack {

namespace {

constexpr unsigned kRenameNoReplace = 1;
constexpr unsigned kRenameExchange = 2;
constexpr mode_t kModeBits = 07777;

class Batch {
 public:
  explicit Batch(const std::string& root) : root_(root) {
    root_fd_.reset(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root_fd_) ThrowErrno(errno, "open", root);
  }

  // One overload for each kind of step: a visitor of BatchStep.
  void operator()(const step::Mkdir& step) {
    Place place = Locate(step.path);
    const char* name = place.name.c_str();
    struct stat st;
    if (Again<::mkdirat>(place.dir, name, step.mode) != 0) {
      int error = errno;
      if (error == EEXIST && step.may_exist &&
          Again<::fstatat>(place.dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(st.st_mode)) return;
        if (S_ISLNK(st.st_mode)) ThrowLink(root_fd_.get(), root_, step.path);
        ThrowNoDirectory(Full(step.path), st.st_mode);
      }
      ThrowErrno(error, "mkdir", Full(step.path));
    }
    if (Again<::fstatat>(place.dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
      ThrowErrno(errno, "stat", Full(step.path));
    if ((st.st_mode & kModeBits) == step.mode) return;
    UniqueFd fd(Again<::openat>(place.dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) ThrowErrno(errno, "open", Full(step.path));
    MakeModeExact(fd.get(), step.mode, step.path);
  }

  void operator()(const step::Write& step) {
    Place place = Locate(step.path);
    UniqueFd fd = Create(step, place, place.name);
    Fill(step, fd.get());
  }

  void operator()(const step::Replace& step) {
    Place place = Locate(step.path);
    std::string temporary = step.temporary.empty() ? TemporaryName(place.name) : step.temporary;
    UniqueFd fd = Create(step, place, temporary);
    try {
      Fill(step, fd.get());
      if (Again<::renameat>(place.dir, temporary.c_str(), place.dir, place.name.c_str()) != 0)
        ThrowErrno(errno, "rename", Full(step.path));
    } catch (...) {
      Again<::unlinkat>(place.dir, temporary.c_str(), 0);
      throw;
    }
    Forget(step.path);
  }

  void operator()(const step::Symlink& step) {
    Place place = Locate(step.path);
    if (Again<::symlinkat>(step.target.c_str(), place.dir, place.name.c_str()) != 0)
      ThrowErrno(errno, "symlink", step.target, Full(step.path));
  }

  void operator()(const step::Link& step) {
    Pair pair = LocateBoth(step.target, step.path);
    if (Again<::linkat>(pair.from.dir, pair.from.name.c_str(), pair.to.dir, pair.to.name.c_str(), 0) != 0)
      ThrowErrno(errno, "link", Full(step.target), Full(step.path));
  }

  void operator()(const step::Rename& step) {
    Pair pair = LocateBoth(step.from, step.to);
    if (RenameAt(pair.from, pair.to, step.no_replace) != 0)
      ThrowErrno(errno, "rename", Full(step.from), Full(step.to));
    Forget(step.from);
    Forget(step.to);
  }

  void operator()(const step::Exchange& step) {
    Pair pair = LocateBoth(step.from, step.to);
    const int from = pair.from.dir;
    const int to = pair.to.dir;
    const char* from_name = pair.from.name.c_str();
    const char* to_name = pair.to.name.c_str();
    long result =
        Retry([&] { return ::syscall(SYS_renameat2, from, from_name, to, to_name, kRenameExchange); });
    if (result != 0 && !step.via.empty() && (errno == EINVAL || errno == ENOSYS)) {
      Place via = Locate(step.via);
      const char* via_name = via.name.c_str();
      result = Again<::renameat>(to, to_name, via.dir, via_name);
      if (result == 0) result = Again<::renameat>(from, from_name, to, to_name);
      if (result == 0) result = Again<::renameat>(via.dir, via_name, from, from_name);
    }
    if (result != 0) ThrowErrno(errno, "rename", Full(step.from), Full(step.to));
    Forget(step.from);
    Forget(step.to);
  }

  void operator()(const step::Unlink& step) { Remove(step, 0, "unlink"); }
  void operator()(const step::Rmdir& step) { Remove(step, AT_REMOVEDIR, "rmdir"); }

  void operator()(const step::Chown& step) {
    Place place = Locate(step.path);
    if (Again<::fchownat>(place.dir, place.name.c_str(), step.uid, step.gid, AT_SYMLINK_NOFOLLOW) != 0)
      ThrowErrno(errno, "chown", Full(step.path));
  }

  void operator()(const step::Fsync& step) { Sync(step.path, "fsync", ::fsync); }
  void operator()(const step::Syncfs& step) { Sync(step.path, "syncfs", ::syncfs); }

  void operator()(const step::Call& step) {
    // The call may remove or mount anything.
    for (Directory& known : parents_) known.fd.reset();
    step.run();
  }

 private:
  // A directory entry. The fd belongs to the batch, and stays open during the step.
  struct Place {
    int dir;
    std::string name;
  };

  // `errno` says why `path` could not be opened. `step` is the full path of the step.
  [[noreturn]] void Fail(const char* syscall, const std::string& path, const std::string& step) const {
    int error = errno;
    if (error == ELOOP) ThrowLink(root_fd_.get(), root_, path);
    ThrowErrno(error, syscall, step);
  }

  std::string Full(const std::string& path) const { return root_ + "/" + path; }

  Place Locate(const std::string& path) {
    size_t slash = path.rfind('/');
    std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
    std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    if (name.empty() || name == "." || name == ".." || name.find('\0') != std::string::npos)
      ThrowErrno(EINVAL, "open", Full(path));
    if (parent.empty()) return {root_fd_.get(), name};
    return {Parent(parent, path), name};
  }

  // The directory of a step. Most steps use the directory of an earlier step.
  int Parent(const std::string& parent, const std::string& path) {
    Directory* oldest = &parents_[0];
    for (Directory& known : parents_) {
      if (known.fd && known.path == parent) {
        known.last_use = ++uses_;
        return known.fd.get();
      }
      if (known.last_use < oldest->last_use) oldest = &known;
    }
    UniqueFd fd = OpenBeneathNoLinks(root_fd_.get(), parent, O_PATH | O_DIRECTORY);
    if (!fd) Fail("open", parent, Full(path));
    *oldest = {parent, std::move(fd), ++uses_};
    return oldest->fd.get();
  }

  // Forgets the directories at and below `path`, which was removed or replaced.
  void Forget(const std::string& path) {
    for (Directory& known : parents_) {
      if (known.path.starts_with(path) &&
          (known.path.size() == path.size() || known.path[path.size()] == '/'))
        known.fd.reset();
    }
  }

  void MakeModeExact(int fd, mode_t mode, const std::string& path) {
    struct stat st;
    if (Again<::fstat>(fd, &st) != 0) ThrowErrno(errno, "fstat", Full(path));
    if ((st.st_mode & kModeBits) != mode && Again<::fchmod>(fd, mode) != 0)
      ThrowErrno(errno, "fchmod", Full(path));
  }

  // Creates `name`, which must not exist.
  template <typename Step>
  UniqueFd Create(const Step& step, const Place& place, const std::string& name) {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd fd(Again<::openat>(place.dir, name.c_str(), kFlags, step.mode));
    if (!fd) ThrowErrno(errno, "open", Full(step.path));
    return fd;
  }

  // Writes the step's bytes.
  template <typename Step>
  void Fill(const Step& step, int fd) {
    MakeModeExact(fd, step.mode, step.path);
    if (!WriteAll(fd, step.data.data(), step.data.size())) ThrowErrno(errno, "write", Full(step.path));
    if (step.sync && Again<::fsync>(fd) != 0) ThrowErrno(errno, "fsync", Full(step.path));
  }

  // `.tmp-<base><digits>`, the pattern that dockerd's own temporary files have.
  static std::string TemporaryName(const std::string& base) {
    uint32_t random = 0;
    if (Again<::getrandom>(&random, sizeof random, 0) != sizeof random) ThrowErrno(errno, "getrandom");
    return ".tmp-" + base + std::to_string(random);
  }

  struct Pair {
    Place from;
    Place to;
  };

  Pair LocateBoth(const std::string& from, const std::string& to) { return {Locate(from), Locate(to)}; }

  static int RenameAt(const Place& from, const Place& to, bool no_replace) {
    const char* name = to.name.c_str();
    if (no_replace) {
      long result =
          Again<::syscall>(SYS_renameat2, from.dir, from.name.c_str(), to.dir, name, kRenameNoReplace);
      if (result == 0 || errno != EINVAL) return static_cast<int>(result);
      // The file system does not support it. Our callers hold the object's lock, so looking first is safe.
      struct stat st;
      if (Again<::fstatat>(to.dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
      }
    }
    return Again<::renameat>(from.dir, from.name.c_str(), to.dir, name);
  }

  template <typename Step>
  void Remove(const Step& step, int flags, const char* syscall) {
    // If the entry may be missing, so may its directory.
    try {
      Place place = Locate(step.path);
      if (Again<::unlinkat>(place.dir, place.name.c_str(), flags) == 0) return Forget(step.path);
      // Often expected, and an exception costs more than the system call.
      if (!step.may_be_missing || errno != ENOENT) ThrowErrno(errno, syscall, Full(step.path));
    } catch (const Failure& failure) {
      if (!step.may_be_missing || failure.errnum != ENOENT) throw;
    }
    Forget(step.path);
  }

  void Sync(const std::string& path, const char* syscall, int (*sync)(int)) {
    UniqueFd fd = OpenBeneathNoLinks(root_fd_.get(), path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!fd) Fail("open", path, Full(path));
    if (Retry([&] { return sync(fd.get()); }) != 0) ThrowErrno(errno, syscall, Full(path));
  }

  const std::string& root_;
  UniqueFd root_fd_;
  // A directory below the root that is open.
  struct Directory {
    std::string path;
    UniqueFd fd;
    uint64_t last_use = 0;
  };
  // A step uses at most three directories, so its own stay open.
  Directory parents_[6];
  uint64_t uses_ = 0;
};

}  // namespace

void RunBatch(const std::string& root, const std::vector<BatchStep>& steps) {
  Batch batch(root);
  for (size_t i = 0; i < steps.size(); ++i) {
    try {
      std::visit(batch, steps[i]);
    } catch (Failure& failure) {
      failure.step = static_cast<int>(i);
      throw;
    }
  }
}

namespace {

// A batch that the first of two threads runs.
class SharedBatch {
 public:
  SharedBatch(std::string root, std::vector<BatchStep> steps)
      : root_(std::move(root)), steps_(std::move(steps)) {}

  // Does nothing if the other thread runs it or has run it.
  void RunOnce() {
    if (taken_.exchange(true)) return;
    std::optional<Failure> failure = Catch([&] { RunBatch(root_, steps_); });
    std::lock_guard<std::mutex> guard(mutex_);
    failure_ = std::move(failure);
    done_ = true;
    changed_.notify_all();
  }

  // Returns how it ended. Some thread runs it already, so this does not wait for a thread to become free.
  std::optional<Failure> Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
    return std::move(failure_);
  }

 private:
  const std::string root_;
  const std::vector<BatchStep> steps_;
  std::atomic<bool> taken_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::optional<Failure> failure_;
};

}  // namespace

void RunTogether(const std::string& root, const std::vector<BatchStep>& first,
                 std::vector<BatchStep> second) {
  auto shared = std::make_shared<SharedBatch>(root, std::move(second));
  RunOnPool([shared] { shared->RunOnce(); });
  std::optional<Failure> failure = Catch([&] { RunBatch(root, first); });
  shared->RunOnce();
  std::optional<Failure> other = shared->Wait();
  if (!failure) failure = std::move(other);
  if (failure) throw *failure;
}

}  // namespace layerstack
