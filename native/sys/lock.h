// Advisory locks between processes, without waiting. Both kinds belong to the open file description, so the
// kernel releases them when its last fd is closed, however the process ends.
#pragma once

#include <cstdint>
#include <string>

#include "sys/fd.h"

namespace layerstack {

// flock(2). False if another description holds it. Throws Failure on any other error.
bool TryFlock(int fd, bool exclusive);

// An OFD lock (Linux 3.15) on one byte. A shared one needs an fd open for reading, an exclusive one for
// writing.
bool TryRangeLock(int fd, int64_t offset, bool exclusive);

// An fd of the file at `path` that holds such a lock; none if another holds it. Makes the file (mode 0600) if
// it is missing. It checks that the file still has this name when the lock is held: else others would lock
// another file.
UniqueFd OpenRangeLock(const std::string& path, int64_t offset, bool exclusive);

}  // namespace layerstack
