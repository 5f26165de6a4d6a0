#include "tree/changes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/resolve.h"
#include "sys/thread_pool.h"
#include "sys/xattrs.h"
#include "tree/merged.h"
#include "tree/upper.h"

namespace layerstack {

namespace {

// Archives and some file systems cut off the fraction of a second. Then only the seconds can be compared.
bool SameTime(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && (a.tv_nsec == b.tv_nsec || a.tv_nsec == 0 || b.tv_nsec == 0);
}

std::string Capability(int directory, const std::string& name) {
  try {
    return GetXattr(EntryPath(directory, name), "security.capability").value_or("");
  } catch (const Failure& failure) {
    if (failure.errnum == ENOENT) return "";  // deleted meanwhile by the running container
    throw;
  }
}

bool Differs(const struct stat& now, const struct stat& before) {
  if (now.st_mode != before.st_mode || now.st_uid != before.st_uid || now.st_gid != before.st_gid ||
      now.st_rdev != before.st_rdev) {
    return true;
  }
  if (S_ISDIR(now.st_mode)) return false;
  return now.st_size != before.st_size || !SameTime(now.st_mtim, before.st_mtim);
}

// Makes the directory that is being walked the thread's working directory. Before Linux 6.13 no call reads
// attributes relative to a directory, and going through /proc costs more than the rest of an entry.
class Here {
 public:
  Here() = default;
  Here(const Here&) = delete;
  Here& operator=(const Here&) = delete;
  ~Here() {
    if (ThreadIsIsolated()) (void)!::chdir("/");
  }
  void Enter(int directory) { inside_ = ThreadIsIsolated() && ::fchdir(directory) == 0; }
  // The path of an entry of the directory that was entered last.
  std::string PathOf(int directory, const std::string& name) const {
    return inside_ ? name : EntryPath(directory, name);
  }

 private:
  bool inside_ = false;
};

// Names that only the lowers have. Below an opaque directory they are deleted.
std::vector<DirectoryEntry> HiddenNames(const MergedDir& lower) {
  std::vector<DirectoryEntry> below;
  for (MergedDir::Name& name : lower.List()) {
    if (lower.Lookup(name.name, name.layer).exists) below.push_back({std::move(name.name), DT_UNKNOWN});
  }
  std::sort(below.begin(), below.end(),
            [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
  return below;
}

// Each level holds an fd and a stack frame. The kernel's PATH_MAX allows about 2,000 levels through one path,
// so a deeper tree is an attack.
constexpr int kMaxDepth = 2048;

class ChangesWalk {
 public:
  std::vector<Change> changes;

  // Compares the directory behind `upper` with `lower`. `hidden`: an opaque directory of the upper is above,
  // so that what the lowers have here is only seen where the upper has it too.
  void Directory(int upper, const MergedDir& lower, const std::string& path, bool hidden) {
    std::vector<DirectoryEntry> entries = SortedEntries(upper, path);
    if (hidden) AddHidden(entries, lower);
    here_.Enter(upper);
    for (const DirectoryEntry& entry : entries) Entry(upper, lower, path, entry, hidden);
  }

 private:
  static void AddHidden(std::vector<DirectoryEntry>& entries, const MergedDir& lower) {
    const auto by_name = [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; };
    std::vector<DirectoryEntry> all;
    const std::vector<DirectoryEntry> below = HiddenNames(lower);
    std::set_union(entries.begin(), entries.end(), below.begin(), below.end(), std::back_inserter(all),
                   by_name);
    entries = std::move(all);
  }

  void Entry(int upper, const MergedDir& lower, const std::string& parent, const DirectoryEntry& entry,
             bool hidden) {
    const std::string& name = entry.name;
    std::string path = parent + "/" + name;
    MergedDir::Found before = lower.Lookup(name);
    struct stat info = {};
    info.st_mode = DTTOIF(entry.type);
    bool present = true;
    // A file that the lowers do not have is new, whatever its attributes. This saves a system call for most
    // entries. If the container changes the entry after the directory was read, only its deletion is noticed.
    if (before.exists || entry.type != DT_REG) {
      present = Again<::fstatat>(upper, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
      if (!present && errno != ENOENT) ThrowErrno(errno, "fstatat", path);
    }
    if (!present || IsWhiteout(info) || !RefuseIndirect(here_.PathOf(upper, name), info, path)) {
      if (before.exists) changes.push_back({'D', path});
      return;
    }
    size_t at = changes.size();
    if (!before.exists) {
      changes.push_back({'A', path});
    } else if (Differs(info, before.st) ||
               Capability(upper, name) != Capability(lower.fd(before.layer), name)) {
      changes.push_back({'C', path});
    }
    if (!S_ISDIR(info.st_mode)) return;
    size_t content = changes.size();
    static const MergedDir kNothing;
    Descend(upper, before.below ? *before.below : kNothing, path, name, hidden);
    // A directory is listed if its content is, so that its metadata can be restored with it.
    if (changes.size() > content && content == at) changes.insert(changes.begin() + at, {'C', path});
  }

  void Descend(int upper, const MergedDir& below, const std::string& path, const std::string& name,
               bool hidden) {
    UniqueFd fd(Retry([&] {
      return Again<::openat>(upper, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }));
    if (!fd) {
      if (errno == ENOENT || errno == ENOTDIR)
        return;  // deleted or replaced meanwhile by the running container
      ThrowErrno(errno, "openat", path);
    }
    if (++depth_ > kMaxDepth) ThrowErrno(ENAMETOOLONG, "openat", path);
    Directory(fd.get(), below, path, hidden || IsOpaque(fd.get()));
    here_.Enter(upper);
    --depth_;
  }

  int depth_ = 0;
  Here here_;
};

// Compares two stacks of uppers on the same lowers, each merged as overlayfs does it.
class StackedWalk {
 public:
  std::vector<Change> changes;

  // `before` and `after`: the numbers of uppers in each stack.
  StackedWalk(size_t before, size_t after) : before_uppers_(before), after_uppers_(after) {}

  void Directory(const MergedDir& before, const MergedDir& after, const std::string& path) {
    if (++depth_ > kMaxDepth) ThrowErrno(ENAMETOOLONG, "openat", path);
    for (const std::string& name : Names(before, after)) Entry(before, after, path + "/" + name, name);
    --depth_;
  }

 private:
  // Where both stacks show the same directories of the lowers, these are not listed: they do not differ.
  std::set<std::string> Names(const MergedDir& before, const MergedDir& after) const {
    const bool same = before.CountBelow(before_uppers_) == after.CountBelow(after_uppers_);
    std::set<std::string> names;
    for (MergedDir::Name& name : same ? before.ListAbove(before_uppers_) : before.List()) {
      names.insert(std::move(name.name));
    }
    for (MergedDir::Name& name : same ? after.ListAbove(after_uppers_) : after.List()) {
      names.insert(std::move(name.name));
    }
    return names;
  }

  void Entry(const MergedDir& before, const MergedDir& after, const std::string& path,
             const std::string& name) {
    const MergedDir::Found was = Present(before, name, before_uppers_, path);
    const MergedDir::Found now = Present(after, name, after_uppers_, path);
    if (!now.exists) {
      if (was.exists) changes.push_back({'D', path});
      return;
    }
    const size_t at = changes.size();
    if (!was.exists) {
      changes.push_back({'A', path});
    } else if (Differs(now.st, was.st) ||
               Capability(after.fd(now.layer), name) != Capability(before.fd(was.layer), name)) {
      changes.push_back({'C', path});
    }
    if (!now.below) return;
    const size_t content = changes.size();
    static const MergedDir kNothing;
    Directory(was.below ? *was.below : kNothing, *now.below, path);
    if (changes.size() > content && content == at) changes.insert(changes.begin() + at, {'C', path});
  }

  // A directory that the running container deletes meanwhile does not exist.
  static MergedDir::Found Present(const MergedDir& view, const std::string& name, size_t uppers,
                                  const std::string& path) {
    try {
      MergedDir::Found found = view.Lookup(name);
      if (!found.exists || view.lower(found.layer) >= uppers) return found;
      if (RefuseIndirect(EntryPath(view.fd(found.layer), name), found.st, path)) return found;
      return {};
    } catch (const Failure& failure) {
      if (failure.errnum == ENOENT || failure.errnum == ENOTDIR) return {};
      throw;
    }
  }

  const size_t before_uppers_;
  const size_t after_uppers_;
  int depth_ = 0;
};

std::vector<std::string> Joined(std::vector<std::string> uppers, const std::vector<std::string>& lowers) {
  uppers.insert(uppers.end(), lowers.begin(), lowers.end());
  return uppers;
}

}  // namespace

std::vector<Change> ListStackedChanges(const std::string& root, const std::vector<std::string>& before,
                                       const std::vector<std::string>& after,
                                       const std::vector<std::string>& lowers) {
  UniqueFd root_fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) ThrowErrno(errno, "open", root);
  StackedWalk walk(before.size(), after.size());
  walk.Directory(MergedDir(root_fd.get(), root, Joined(before, lowers)),
                 MergedDir(root_fd.get(), root, Joined(after, lowers)), "");
  return std::move(walk.changes);
}

std::vector<Change> ListChanges(const std::string& root, const std::string& upper,
                                const std::vector<std::string>& lowers) {
  UniqueFd root_fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) ThrowErrno(errno, "open", root);
  UniqueFd fd = OpenInRoot(root_fd.get(), upper, O_RDONLY | O_DIRECTORY);
  if (!fd) ThrowErrno(errno, "open", root + "/" + upper);
  ChangesWalk walk;
  walk.Directory(fd.get(), MergedDir(root_fd.get(), root, lowers), "", false);
  return std::move(walk.changes);
}

}  // namespace layerstack
