#include "tree/init_layer.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

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

// An entry that a new upper needs, and how it is made.
struct Addition {
  enum Kind { kCopy, kDirectory, kFile, kLink } kind;
  size_t parent;  // the index of its directory: 0 is the upper, 1 the first copy or directory of the plan
  std::string name;
  std::string target;         // of a link
  bool replaces = false;      // a directory takes the place of something else of the image
  struct stat original = {};  // of the directory that a copy is made of
  Xattrs attributes;
};

// The additions in the order in which they are made.
struct Plan {
  std::vector<Addition> additions;
  size_t directories = 0;  // without the upper
};

bool IsDirectory(const Addition& addition) {
  return addition.kind == Addition::kCopy || addition.kind == Addition::kDirectory;
}

// A directory of the merged view of image and init layer, while the init layer is planned.
class InitDir {
 public:
  // The root, whose upper exists.
  InitDir(MergedDir lower, std::string path, Plan* plan)
      : plan_(plan),
        path_(std::move(path)),
        lower_(std::move(lower)),
        has_lower_(lower_.layers() > 0),
        upper_(0) {}

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
      : plan_(parent->plan_), parent_(parent), name_(name), path_(parent->path_ + "/" + name) {}

  // Plans an entry, owned by root, and returns the index of a directory. `replaces`: it replaces something of
  // the image that is not a directory.
  size_t Make(const Wanted& wanted, bool replaces) {
    CopyUp();
    const auto kind = wanted.kind == Wanted::kDirectory ? Addition::kDirectory
                      : wanted.kind == Wanted::kFile    ? Addition::kFile
                                                        : Addition::kLink;
    return Add({kind, *upper_, wanted.name, wanted.target ? wanted.target : "", replaces, {}, {}});
  }

  // Plans the directory in the upper, with the owner, mode and attributes of the image's. Its times do not
  // matter, since an entry is about to be made in it.
  void CopyUp() {
    if (upper_) return;
    parent_->CopyUp();
    Addition copy = {Addition::kCopy, *parent_->upper_, name_, "", false, {}, {}};
    if (Again<::fstat>(lower_.fd(0), &copy.original) != 0) ThrowErrno(errno, "fstat", lower_.path());
    copy.attributes = CopiedXattrs(lower_.fd(0), path_);
    upper_ = Add(std::move(copy));
  }

  size_t Add(Addition addition) {
    if (IsDirectory(addition)) ++plan_->directories;
    plan_->additions.push_back(std::move(addition));
    return plan_->directories;
  }

  Plan* plan_;
  InitDir* parent_ = nullptr;
  std::string name_;
  std::string path_;
  MergedDir lower_;
  bool has_lower_ = false;
  std::optional<size_t> upper_;  // its index in the plan; empty until something is made in it
};

// Makes the additions of a plan in the upper.
class Maker {
 public:
  Maker(UniqueFd upper, std::string path) {
    struct stat st;
    if (Again<::fstat>(upper.get(), &st) != 0) ThrowErrno(errno, "fstat", path);
    directories_.push_back({0, std::string(), std::move(path), std::move(upper), IsSetgid(st)});
  }

  void Make(const Plan& plan) {
    directories_.reserve(plan.directories + 1);
    for (const Addition& addition : plan.additions) Make(addition);
  }

 private:
  struct Directory {
    size_t parent;
    std::string name;
    std::string path;
    UniqueFd fd;  // opened for the first entry in it
    bool setgid;  // new entries get its group, and new directories its bit
  };

  static bool IsSetgid(const struct stat& st) { return (st.st_mode & S_ISGID) != 0; }

  void Make(const Addition& addition) {
    const int dir = Open(addition.parent);
    const Directory& parent = directories_[addition.parent];
    const char* name = addition.name.c_str();
    const std::string path = parent.path + "/" + addition.name;
    const bool exact = IsExact(parent);
    switch (addition.kind) {
      case Addition::kCopy:
        if (Again<::mkdirat>(dir, name, 0700) != 0) ThrowErrno(errno, "mkdir", path);
        directories_.push_back({addition.parent, addition.name, path, {}, IsSetgid(addition.original)});
        return Complete(addition, Open(directories_.size() - 1), path);
      case Addition::kDirectory:
        if (Again<::mkdirat>(dir, name, kMode) != 0) ThrowErrno(errno, "mkdir", path);
        directories_.push_back({addition.parent, addition.name, path, {}, parent.setgid});
        if (!exact) MakeExact(Open(directories_.size() - 1), path);
        // Else it would merge with a directory that the replaced entry has hidden.
        if (addition.replaces) SetXattr(Open(directories_.size() - 1), "trusted.overlay.opaque", "y", path);
        return;
      case Addition::kFile: {
        UniqueFd fd(Again<::openat>(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
        if (!fd) ThrowErrno(errno, "open", path);
        if (!exact) MakeExact(fd.get(), path);
        return;
      }
      case Addition::kLink:
        // dockerd does not chown links, so below a setgid directory of the image a link keeps that
        // directory's group.
        if (Again<::symlinkat>(addition.target.c_str(), dir, name) != 0)
          ThrowErrno(errno, "symlink", addition.target, path);
        return;
    }
  }

  int Open(size_t index) {
    Directory& directory = directories_[index];
    if (!directory.fd) {
      const int parent = Open(directory.parent);
      directory.fd.reset(
          Again<::openat>(parent, directory.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!directory.fd) ThrowErrno(errno, "open", directory.path);
    }
    return directory.fd.get();
  }

  // Whether new entries belong to root, and keep the mode of their creation.
  bool IsExact(const Directory& parent) const { return is_root_ && !parent.setgid && ThreadIsIsolated(); }

  static void MakeExact(int fd, const std::string& path) {
    struct stat st;
    if (Again<::fstat>(fd, &st) != 0) ThrowErrno(errno, "fstat", path);
    if ((st.st_uid != 0 || st.st_gid != 0) && Again<::fchown>(fd, 0, 0) != 0)
      ThrowErrno(errno, "fchown", path);
    if (!ThreadIsIsolated() && Again<::fchmod>(fd, kMode) != 0)
      ThrowErrno(errno, "fchmod", path);  // the umask's bits
  }

  // Gives a copy the owner, attributes and mode of the image's directory.
  static void Complete(const Addition& copy, int fd, const std::string& path) {
    const struct stat& st = copy.original;
    if (Again<::fchown>(fd, st.st_uid, st.st_gid) != 0) ThrowErrno(errno, "fchown", path);
    SetKnownXattrs(fd, copy.attributes, path);
    if (Again<::fchmod>(fd, st.st_mode & 07777) != 0) ThrowErrno(errno, "fchmod", path);
  }

  const bool is_root_ = ::geteuid() == 0 && ::getegid() == 0;
  std::vector<Directory> directories_;
};

UniqueFd OpenImageRoot(const std::string& root) {
  UniqueFd fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) ThrowErrno(errno, "open", root);
  return fd;
}

UniqueFd OpenUpper(int root_fd, const std::string& upper, const std::string& path) {
  UniqueFd fd = OpenInRoot(root_fd, upper, O_RDONLY | O_DIRECTORY);
  if (!fd) ThrowErrno(errno, "open", path);
  return fd;
}

Plan PlanInit(MergedDir lower, const std::string& path) {
  Plan plan;
  InitDir top(std::move(lower), path, &plan);
  for (const Wanted& wanted : kRoot) top.Ensure(wanted);
  InitDir dev = top.Child("dev");
  for (const Wanted& wanted : kDev) dev.Ensure(wanted);
  InitDir etc = top.Child("etc");
  for (const Wanted& wanted : kEtc) etc.Ensure(wanted);
  return plan;
}

// Identifies an entry, and shows whether its metadata or its own entries were changed. All zero: no entry.
struct EntryStamp {
  dev_t device;
  ino_t inode;
  time_t seconds;
  long nanoseconds;
  bool operator==(const EntryStamp&) const = default;
};

// The directories of a layer that a plan is made from.
constexpr std::array<const char*, 3> kPlanned = {"", "dev", "etc"};
using Stamp = std::array<EntryStamp, kPlanned.size()>;

Stamp StampOf(int fd, const std::string& path) {
  Stamp stamp{};
  for (size_t i = 0; i < kPlanned.size(); ++i) {
    struct stat st;
    const int flags = AT_SYMLINK_NOFOLLOW | (*kPlanned[i] == '\0' ? AT_EMPTY_PATH : 0);
    if (Again<::fstatat>(fd, kPlanned[i], &st, flags) == 0)
      stamp[i] = {st.st_dev, st.st_ino, st.st_ctim.tv_sec, st.st_ctim.tv_nsec};
    else if (errno != ENOENT)
      ThrowErrno(errno, "fstatat", path);
  }
  return stamp;
}

// The plans of the init layers of images. A layer changes only where a repair sets its metadata, so the plan
// of an image is the same for all its containers. The directories of its layers show that they are unchanged.
class KnownPlans {
 public:
  std::shared_ptr<const Plan> Find(const std::string& key, int root_fd,
                                   const std::vector<std::string>& lowers) {
    std::optional<Known> known;
    {
      std::lock_guard<std::mutex> guard(mutex_);
      const auto found = plans_.find(key);
      if (found == plans_.end()) return nullptr;
      known = found->second;
    }
    for (size_t i = 0; i < lowers.size(); ++i) {
      const UniqueFd fd = OpenInRoot(root_fd, lowers[i], O_PATH | O_DIRECTORY);
      if (!fd || StampOf(fd.get(), lowers[i]) != known->stamps[i]) return nullptr;
    }
    return known->plan;
  }

  void Keep(const std::string& key, std::vector<Stamp> stamps, std::shared_ptr<const Plan> plan) {
    std::lock_guard<std::mutex> guard(mutex_);
    if (plans_.size() >= kMost) plans_.clear();
    plans_[key] = {std::move(stamps), std::move(plan)};
  }

 private:
  struct Known {
    std::vector<Stamp> stamps;
    std::shared_ptr<const Plan> plan;
  };
  static constexpr size_t kMost = 64;  // a few KB each

  std::mutex mutex_;
  std::map<std::string, Known> plans_;
};

KnownPlans& PlansOfProcess() {
  static KnownPlans* plans = new KnownPlans;  // never destroyed: threads outlive static destruction
  return *plans;
}

std::shared_ptr<const Plan> PlanOf(int root_fd, const std::string& root,
                                   const std::vector<std::string>& lowers, const std::string& path) {
  std::string key = root;
  for (const std::string& lower : lowers) key += '\0' + lower;
  if (auto known = PlansOfProcess().Find(key, root_fd, lowers)) return known;
  MergedDir lower(root_fd, root, lowers);
  std::vector<Stamp> stamps;
  for (size_t i = 0; i < lower.layers(); ++i) stamps.push_back(StampOf(lower.fd(i), lower.path(i)));
  auto plan = std::make_shared<const Plan>(PlanInit(std::move(lower), path));
  PlansOfProcess().Keep(key, std::move(stamps), plan);
  return plan;
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
  const std::string top = root + "/" + upper;
  UniqueFd upper_fd = OpenUpper(root_fd.get(), upper, top);
  Plan plan;
  // The directories from the root of the view down to where the walk is. Each points to the one above it.
  std::vector<std::unique_ptr<InitDir>> walk;
  walk.push_back(std::make_unique<InitDir>(MergedDir(root_fd.get(), root, lowers), top, &plan));
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
  Maker(std::move(upper_fd), top).Make(plan);
}

void PopulateInit(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper) {
  const UniqueFd root_fd = OpenImageRoot(root);
  const std::string path = root + "/" + upper;
  UniqueFd upper_fd = OpenUpper(root_fd.get(), upper, path);
  const auto plan = PlanOf(root_fd.get(), root, lowers, path);
  Maker(std::move(upper_fd), path).Make(*plan);
}

}  // namespace layerstack
