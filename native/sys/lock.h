// Advisory locks between processes, without waiting. Both kinds belong to the open file description, so the
// kernel releases them when its last fd is closed, however the process ends.
#pragma once

#include <cstdint>
#include <string>

namespace layerstack {

// flock(2). False if another description holds it. Throws Failure on any other error.
bool TryFlock(int fd, bool exclusive);

// An OFD lock (Linux 3.15) on one byte. A shared one needs an fd open for reading, an exclusive one for
// writing.
bool TryRangeLock(int fd, int64_t offset, bool exclusive);

enum class NamedLock { kHeld, kBusy, kRenamed };

// Takes such a lock, and checks that `path` still names the file when the lock is held: else others lock
// another file. Then it gives the lock back.
NamedLock TryNamedRangeLock(int fd, const std::string& path, int64_t offset, bool exclusive);

// Gives the lock of one byte back.
void ReleaseRangeLock(int fd, int64_t offset);

}  // namespace layerstack
