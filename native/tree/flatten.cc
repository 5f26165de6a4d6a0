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
};

// A new directory with everything of the topmost one except its times.
Level Open(MergedDir from, int parent, const std::string& name, std::string path) {
  Level level{std::move(from), UniqueFd(), std::move(path), {}, {}};
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

}  // namespace

void Flatten(const std::string& root, const std::vector<std::string>& lowers, const std::string& target) {
  UniqueFd root_fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) ThrowErrno(errno, "open", root);
  if (lowers.empty()) ThrowInput("ERR_INVALID_ARGUMENT", "a flat tree needs at least one lower directory");
  size_t slash = target.rfind('/');
  std::string base = slash == std::string::npos ? target : target.substr(slash + 1);
  UniqueFd parent = OpenInRoot(root_fd.get(), slash == std::string::npos ? "" : target.substr(0, slash),
                               O_PATH | O_DIRECTORY);
  if (!parent) ThrowErrno(errno, "open", root + "/" + target);

  std::vector<Level> stack;
  stack.push_back(Open(MergedDir(root_fd.get(), root, lowers), parent.get(), base, root + "/" + target));
  while (!stack.empty()) {
    Level& level = stack.back();
    if (level.names.empty()) {
      CopyTimes(level.to.get(), ".", level.st, 0, level.path);
      stack.pop_back();
      continue;
    }
    const auto [name, layer] = std::move(level.names.back());
    level.names.pop_back();
    MergedDir::Found found = level.from.Lookup(name, layer);
    if (!found.exists) continue;
    if (found.below) {
      std::string path = level.path + "/" + name;
      stack.push_back(Open(std::move(*found.below), level.to.get(), name, std::move(path)));
    } else {
      Place(level, name, found);
    }
  }
}

}  // namespace layerstack
