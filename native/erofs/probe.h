// How this kernel mounts an index over a tar, found out by mounting a tiny one and reading through it.
#pragma once

#include <optional>
#include <string>

#include "sys/erofs_mount.h"

namespace layerstack::erofs {

// Tries with files without names in `dir`, so that nothing stays. Nothing where neither method works. Throws
// what is no answer (EIO, EMFILE, ENOSPC, ...).
std::optional<ErofsMethod> ProbeMethod(const std::string& dir);

}  // namespace layerstack::erofs
