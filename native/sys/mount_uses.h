// Finds other users of a mount's file system: other mounts of it, mounts below it, and processes that work in
// it. Reads /proc, so it sees only processes of its own and of inner pid namespaces. It does not see detached
// mounts, and files that are only mapped.
#pragma once

#include <string>
#include <vector>

namespace layerstack {

struct MountUses {
  struct Other {
    int pid = 0;  // a process of the mount's namespace
    std::string command;
    std::string path;   // as that namespace has it
    bool own = false;   // in the namespace of this process
    bool copy = false;  // at the same path: it ends when the mount point is removed
  };
  struct User {
    int pid = 0;
    std::string command;
    std::string how;   // "root", "directory", "reads" or "writes"
    bool own = false;  // as above
  };
  std::vector<Other> others;
  std::vector<std::string> below;
  std::vector<User> users;
};

// The upper bound of each list.
inline constexpr size_t kMaxUses = 4096;

// `target` is a mount point. `everyone`: looks at all processes. Otherwise only at those in other namespaces
// that have the mount. Throws the errno of opening `target`.
MountUses FindMountUses(const std::string& target, bool everyone);

}  // namespace layerstack
