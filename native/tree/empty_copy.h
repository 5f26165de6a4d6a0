// A new, empty directory with the attributes of another one: a fresh upper for a root file system whose old
// upper takes no more writes. The root directory that processes see is the upper's.
#pragma once

#include <string>

namespace layerstack {

// Makes `to`, which must not exist, with the owner, mode, xattrs (overlayfs's own excepted) and times of the
// directory `from`. Both are relative to `root`; links are followed inside `root`. After a failure `to` may
// exist. Throws Failure with the path. Call it on a thread that may block.
void MakeEmptyCopy(const std::string& root, const std::string& from, const std::string& to);

}  // namespace layerstack
