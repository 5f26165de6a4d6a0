// Files as block devices, for a kernel that mounts nothing else.
#pragma once

#include <string>

#include "sys/fd.h"

namespace layerstack {

// A read-only loop device. It lives as long as somebody has it open: this fd, or a mount of it. So nothing
// that dies leaves one.
struct LoopDevice {
  UniqueFd fd;
  std::string path;
};

// Makes a device of `file`, which the caller may close then. Bytes beyond the last whole 512 are not in it.
// Throws the system error.
LoopDevice OpenLoop(int file);

}  // namespace layerstack
