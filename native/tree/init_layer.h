// The content of a container's init layer: the mount points and files that a runtime mounts over, so that they are
// there whatever the image is. Source: moby daemon/initlayer; reference section 10.
#pragma once

#include <string>
#include <vector>

namespace layerstack {

// Fills the empty directory `upper` with what dockerd's steps (unlink each component of each path, then create what
// is missing) would leave in it if it were the upper of an overlay over `lowers` (topmost first). All relative
// to `root`. Nothing is mounted. Throws Failure. Runs on a pool thread.
void PopulateInit(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper);

}  // namespace layerstack
