// Files as block devices, for a kernel that mounts nothing else.
#pragma once

#include <string>

#include "sys/fd.h"

namespace layerstack {

// A read-only loop device. It exists as long as it is open: by this fd, or by a mount of it. So a process
// that dies leaves none.
struct LoopDevice {
  UniqueFd fd;
  std::string path;
};

// Makes a device of `file`, which the caller may close then. Bytes beyond the last whole 512 are not in it.
// Throws the system error.
LoopDevice OpenLoop(int file);

}  // namespace layerstack
