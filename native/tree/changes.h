// Lists the changes of a container, as `docker diff` does: the merged view of the RW layer against the merged
// view of its init layer (moby/go-archive: changes.go). Walks only the upper directory. Looks the lowers up
// by name, and lists them only below an opaque directory of the upper. Mounts nothing, so it works beside a
// running container.
#pragma once

#include <string>
#include <vector>

namespace layerstack {

struct Change {
  char kind;         // 'A' added, 'C' changed, 'D' deleted
  std::string path;  // "/etc/hosts"
};

// Sorted: a directory before its content, names bytewise. `upper` and `lowers` (topmost, the init layer,
// first) are relative to `root`. Throws system failures with the path, and ERR_UPPER_UNSUPPORTED for redirect
// and metacopy entries. Call it on a thread that may block. Cost: the entries of `upper` times the layers
// that share their directory.
std::vector<Change> ListChanges(const std::string& root, const std::string& upper,
                                const std::vector<std::string>& lowers);

// The changes from one stack of uppers to another, both on the same `lowers`, in the same order. All are
// topmost first. Walks the uppers, and the entries of the lowers that show in one stack only.
std::vector<Change> ListStackedChanges(const std::string& root, const std::vector<std::string>& before,
                                       const std::vector<std::string>& after,
                                       const std::vector<std::string>& lowers);

}  // namespace layerstack
