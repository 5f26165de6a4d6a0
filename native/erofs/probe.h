// Finds out how this kernel mounts an index over a tar, by mounting a tiny one and reading through it.
#pragma once

#include <optional>
#include <string>

#include "sys/erofs_mount.h"

namespace layerstack::erofs {

// Tries both methods with unnamed files in `dir`, which leave nothing behind. Returns nothing where neither
// works. Throws errors that say nothing about the kernel (EIO, EMFILE, ENOSPC, ...).
std::optional<ErofsMethod> ProbeMethod(const std::string& dir);

}  // namespace layerstack::erofs
