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

// Takes such a lock, and then checks that `path` still names the file. If it names another file, others lock
// that one, so the lock is released.
NamedLock TryNamedRangeLock(int fd, const std::string& path, int64_t offset, bool exclusive);

// Releases the lock of one byte.
void ReleaseRangeLock(int fd, int64_t offset);

}  // namespace layerstack
