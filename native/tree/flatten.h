// One directory that shows what an overlay of several would show, for kernels that mount a single lower.
#pragma once

#include <string>
#include <vector>

namespace layerstack {

// Makes `target` (must not exist) with the merged view of `lowers` (topmost first), all relative to `root`.
// Files, links and devices become hard links to the layers' own, or copies if a file has too many links or is
// on another file system. Directories are made anew, with owner, mode, xattrs and times of the topmost. The
// layers must not change. Syncs nothing. Throws Failure, and then leaves an unfinished target. Time: one pass
// over the names.
void Flatten(const std::string& root, const std::vector<std::string>& lowers, const std::string& target);

// The same for uppers (topmost first) that take no more writes. The result is an upper: above `lowers` it
// shows the same files as all of them. So it keeps whiteouts and opaque directories. It leaves out whiteouts
// in a directory of which the lowers show nothing: overlayfs would list them. Also throws
// ERR_UPPER_UNSUPPORTED for redirect and metacopy entries.
void MergeUppers(const std::string& root, const std::vector<std::string>& uppers,
                 const std::vector<std::string>& lowers, const std::string& target);

}  // namespace layerstack
