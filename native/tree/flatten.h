// One directory that shows what an overlay of several would: the lower of kernels that mount a single one.
#pragma once

#include <string>
#include <vector>

namespace layerstack {

// Makes `target` (must not exist) with the merged view of `lowers` (topmost first), all relative to `root`: files,
// links and devices as hard links of the layers' own, or copies where a file has too many links or
// lives elsewhere; directories anew with owner, mode, xattrs and times of the topmost. Layers must not change.
// Nothing is synced; a failed call leaves an unfinished target. Throws Failure. Time: one pass over the names.
void Flatten(const std::string& root, const std::vector<std::string>& lowers, const std::string& target);

}  // namespace layerstack
