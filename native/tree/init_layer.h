// The parts of a new container that do not come from its image: its working directory, and the content of its
// init layer. The init layer has the mount points and files that a runtime mounts over, so that every image
// has them. Source: moby daemon/initlayer; docs/docker-overlay2-store.md, "Init layer".
#pragma once

#include <string>
#include <vector>

namespace layerstack {

// Fills the empty directory `upper` with what dockerd's steps (unlink each component of each path, then create what
// is missing) would leave in it if it were the upper of an overlay over `lowers` (topmost first). All relative
// to `root`. Nothing is mounted. Throws Failure. Runs on a pool thread.
void PopulateInit(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper);

// Makes the directory `path`, and those above it, in `upper`, the upper of an overlay over `lowers` that is not mounted,
// unless its view has it: owned by root, mode 0755. Links are followed by their text, inside the view. Throws Failure, with
// ENOTDIR for something else on the way. Runs on a pool thread.
void MakeDirectory(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper,
                   const std::string& path);

}  // namespace layerstack
