// Mounting an EROFS image that is a file, with the files that it points into.
#pragma once

#include <vector>

#include "sys/fd.h"

namespace layerstack {

enum class ErofsMethod {
  kFile,  // the files themselves (Linux 6.12, with CONFIG_EROFS_FS_BACKED_BY_FILE)
  kLoop,  // loop devices, which go away with the mount
};

// A read-only mount that is attached nowhere and goes away with its fd. The files may be closed then; they
// must not change. Throws the system error with the kernel's own words: ENODEV where the kernel has no EROFS,
// ENOTBLK where it takes no files (or none of their file system).
UniqueFd OpenErofs(int image, const std::vector<int>& devices, ErofsMethod method = ErofsMethod::kFile);

}  // namespace layerstack
