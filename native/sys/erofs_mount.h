// Mounts an EROFS image that is a file, with the files that it points into.
#pragma once

#include <vector>

#include "sys/fd.h"

namespace layerstack {

enum class ErofsMethod {
  kFile,  // the files themselves (Linux 6.12, with CONFIG_EROFS_FS_BACKED_BY_FILE)
  kLoop,  // loop devices, which end with the mount
};

// Returns a read-only mount that is not attached to a path and ends with its fd. The caller may close the
// files afterwards; they must not change. Throws the system error with the kernel's own words: ENODEV where
// the kernel has no EROFS, ENOTBLK where it cannot mount files of this file system, or any files.
UniqueFd OpenErofs(int image, const std::vector<int>& devices, ErofsMethod method = ErofsMethod::kFile);

}  // namespace layerstack
