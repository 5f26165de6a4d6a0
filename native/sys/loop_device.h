// Files as block devices, for a kernel that mounts only block devices.
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

// Makes a device of `file`, which the caller may close then. A device leaves out an incomplete last 512-byte
// block. Throws the system error.
LoopDevice OpenLoop(int file);

}  // namespace layerstack
