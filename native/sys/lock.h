// Advisory locks between processes, without waiting. Both kinds belong to the open file description, so they are gone
// when its last fd is closed, however the process ends.
#pragma once

#include <cstdint>

namespace layerstack {

// flock(2). False where another description holds it. Throws Failure otherwise.
bool TryFlock(int fd, bool exclusive);

// An OFD lock (Linux 3.15) on one byte. A shared one needs an fd open for reading, an exclusive one for writing.
bool TryRangeLock(int fd, int64_t offset, bool exclusive);

}  // namespace layerstack
