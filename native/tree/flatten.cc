#include "tree/flatten.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/resolve.h"
#include "sys/xattrs.h"
#include "tree/copy_node.h"
#include "tree/merged.h"
#include "tree/upper.h"

namespace layerstack {

namespace {

// One directory of the result, being filled. Directories are done depth first on a stack, so that only those
// on the way down are open.
struct Level {
  MergedDir from;
  UniqueFd to;
  std::string path;
  struct stat st;  // of the topmost directory
  std::vector<MergedDir::Name> names;
  MergedDir below;  // what is below an upper here
  bool hidden;      // nothing below it shows here
};

// A new directory with everything of the topmost one except its times.
Level Open(MergedDir from, int parent, const std::string& name, std::string path) {
  Level level{std::move(from), UniqueFd(), std::move(path), {}, {}, {}, false};
  if (Again<::fstat>(level.from.fd(0), &level.st) != 0) ThrowErrno(errno, "fstat", level.from.path());
  if (Again<::mkdirat>(parent, name.c_str(), 0700) != 0) ThrowErrno(errno, "mkdir", level.path);
  level.to.reset(Again<::openat>(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!level.to) ThrowErrno(errno, "open", level.path);
  if (Again<::fchown>(level.to.get(), level.st.st_uid, level.st.st_gid) != 0)
    ThrowErrno(errno, "fchown", level.path);
  CopyXattrs(level.from.fd(0), level.to.get(), level.path);
  if (Again<::fchmod>(level.to.get(), level.st.st_mode & 07777) != 0) ThrowErrno(errno, "fchmod", level.path);
  level.names = level.from.List();
  return level;
}

void Place(const Level& level, const std::string& name, const MergedDir::Found& found) {
  const int from = level.from.fd(found.layer);
  if (Again<::linkat>(from, name.c_str(), level.to.get(), name.c_str(), 0) == 0) return;
  const std::string path = level.path + "/" + name;
  if (errno != EMLINK && errno != EXDEV && errno != EPERM)
    ThrowErrno(errno, "link", level.from.path(found.layer) + "/" + name, path);
  CopyNode(from, level.to.get(), name, found.st, path, OverlayMarks::kLeaveOut);
}

// Fills a tree. The kind of the tree decides how to treat the marks of overlayfs.
class Flattening {
 public:
  explicit Flattening(bool keep_marks) : keep_marks_(keep_marks) {}

  // `below`: the lowers that an upper is made for.
  void Make(const std::string& root, const std::vector<std::string>& lowers,
            const std::vector<std::string>& below, const std::string& target) {
    UniqueFd root_fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root_fd) ThrowErrno(errno, "open", root);
    if (lowers.empty()) ThrowInput("ERR_INVALID_ARGUMENT", "a flat tree needs at least one lower directory");
    size_t slash = target.rfind('/');
    std::string base = slash == std::string::npos ? target : target.substr(slash + 1);
    UniqueFd parent = OpenInRoot(root_fd.get(), slash == std::string::npos ? "" : target.substr(0, slash),
                                 O_PATH | O_DIRECTORY);
    if (!parent) ThrowErrno(errno, "open", root + "/" + target);

    stack_.push_back(Open(MergedDir(root_fd.get(), root, lowers), parent.get(), base, root + "/" + target));
    stack_.back().below = MergedDir(root_fd.get(), root, below);
    while (!stack_.empty()) {
      Level& level = stack_.back();
      if (level.names.empty()) {
        CopyTimes(level.to.get(), ".", level.st, 0, level.path);
        stack_.pop_back();
        continue;
      }
      const MergedDir::Name name = std::move(level.names.back());
      level.names.pop_back();
      Entry(level, name);
    }
  }

 private:
  void Entry(Level& level, const MergedDir::Name& name) {
    MergedDir::Found found = level.from.Lookup(name.name, name.layer);
    if (!found.exists) {
      if (keep_marks_ && !level.hidden) Whiteout(level, name);
      return;
    }
    const std::string path = level.path + "/" + name.name;
    if (keep_marks_) RefuseIndirect(EntryPath(level.from.fd(found.layer), name.name), found.st, path);
    if (!found.below) return Place(level, name.name, found);
    const bool opaque = found.below->closed();
    Level next = Open(std::move(*found.below), level.to.get(), name.name, path);
    MergedDir::Found below;
    if (keep_marks_ && !level.hidden && !opaque) below = level.below.Lookup(name.name);
    next.hidden = !below.below;
    if (below.below) next.below = std::move(*below.below);
    if (keep_marks_ && opaque) SetXattr(next.to.get(), kOpaque, "y", path);
    stack_.push_back(std::move(next));
  }

  // The topmost entry of a name that does not show is a whiteout.
  static void Whiteout(const Level& level, const MergedDir::Name& name) {
    MergedDir::Found found;
    found.layer = name.layer;
    if (Again<::fstatat>(level.from.fd(name.layer), name.name.c_str(), &found.st, AT_SYMLINK_NOFOLLOW) != 0)
      ThrowErrno(errno, "stat", level.from.path(name.layer) + "/" + name.name);
    Place(level, name.name, found);
  }

  static constexpr char kOpaque[] = "trusted.overlay.opaque";
  const bool keep_marks_;
  std::vector<Level> stack_;
};

}  // namespace

void Flatten(const std::string& root, const std::vector<std::string>& lowers, const std::string& target) {
  Flattening(false).Make(root, lowers, {}, target);
}

void MergeUppers(const std::string& root, const std::vector<std::string>& uppers,
                 const std::vector<std::string>& lowers, const std::string& target) {
  Flattening(true).Make(root, uppers, lowers, target);
}

}  // namespace layerstack
