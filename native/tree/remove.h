// Deleting a directory tree at the speed of `rm -rf`: relative to directory fds, unlinking while reading.
#pragma once

#include <cstdint>
#include <string>

namespace layerstack {

// Removes `path` (a file, link or tree) below `root` and returns the number of removed entries, 0 if there is
// nothing. Links are removed, never followed. A mount point below or at `path` stops it with EBUSY; entries
// beside it may have been removed by then. Entries that others remove meanwhile are not an error. Any depth
// of nesting, with at most 32 open fds. Throws Failure with the full path of the entry.
int64_t RemoveTree(const std::string& root, const std::string& path);
// The same for one name in the directory behind `dir`. `full` is its path in failures.
int64_t RemoveTreeAt(int dir, const std::string& name, const std::string& full);

}  // namespace layerstack
