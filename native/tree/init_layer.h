// The additions of a new container to its image. Its init layer has the mount points and files that a runtime
// mounts over, so that they exist whatever the image is (moby/moby: daemon/initlayer;
// docs/docker-overlay2-store.md, "Init layer"). It also has its working directory.
#pragma once

#include <string>
#include <vector>

namespace layerstack {

// Fills the empty directory `upper` with what dockerd's steps (unlink each component of each path, then
// create what is missing) would leave in it if it were the upper of an overlay over `lowers` (topmost first).
// All names are relative to `root`. Mounts nothing. Throws Failure. Runs on a pool thread.
void PopulateInit(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper);

// Makes the directory `path`, and those above it, in `upper`, the upper of an overlay over `lowers` that is
// not mounted, unless the overlay's view has it. Its owner is root and its mode 0755. Follows links by their
// text, inside the view. Throws Failure, with ENOTDIR for something else on the way. Runs on a pool thread.
void MakeDirectory(const std::string& root, const std::vector<std::string>& lowers, const std::string& upper,
                   const std::string& path);

}  // namespace layerstack
