// Lets the disk write a large file while more of it comes. Otherwise the sync at the end waits for all of it.
// Only that sync makes the file durable, and only it reports errors.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

namespace layerstack {

class EarlyWriteback {
 public:
  // Call this after each write. The file is written up to `end`.
  void Written(int fd, off_t end) {
    if (end - started_ < kWindow) return;
    Start(fd, end);
  }
  // Starts what is left.
  void Start(int fd, off_t end) {
    (void)::sync_file_range(fd, started_, end - started_, SYNC_FILE_RANGE_WRITE);
    started_ = end;
  }

 private:
  static constexpr off_t kWindow = 8 << 20;

  off_t started_ = 0;
};

}  // namespace layerstack
