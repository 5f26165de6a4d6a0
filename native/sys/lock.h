// Advisory locks between processes, without waiting. Both kinds belong to the open file description, so they are gone
// when its last fd is closed, however the process ends.
#pragma once

#include <cstdint>
#include <string>

#include "sys/fd.h"

namespace layerstack {

// flock(2). False where another description holds it. Throws Failure otherwise.
bool TryFlock(int fd, bool exclusive);

// An OFD lock (Linux 3.15) on one byte. A shared one needs an fd open for reading, an exclusive one for writing.
bool TryRangeLock(int fd, int64_t offset, bool exclusive);

// An fd of the file at `path`, made where it is missing (mode 0600), that has such a lock; none where another has it. The
// file has this name still when the lock is held: else others would lock another.
UniqueFd OpenRangeLock(const std::string& path, int64_t offset, bool exclusive);

}  // namespace layerstack
