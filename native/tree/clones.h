// Files of a tree that becomes a layer, cloned into the layer's file system by FICLONE (XFS, btrfs, bcachefs)
// instead of copied. A clone shares the blocks, costs no writing, and does not change when the original is
// written to. A hard link would change: a container writes to the inodes of its upper in place. The reader of
// the tree makes clones and reads them, so that the tar, its sum and the layer agree however the original
// changes. The extractor of the tar takes them in the same order. Thread-safe.
#pragma once

#include <deque>
#include <mutex>
#include <string>

#include "sys/fd.h"

namespace layerstack {

class Clones {
 public:
  // Smaller files are cheaper to copy.
  static constexpr uint64_t kMinBytes = 64 << 10;

  // `directory`: where the layer is made, absolute.
  explicit Clones(std::string directory) : directory_(std::move(directory)) {}

  // A clone of the open file, to be read from. It becomes the content of the member of this name. None if the
  // file system has no clones, the file is on another one, or too many clones wait to be taken: then the file
  // has to be copied.
  UniqueFd Make(const std::string& member, int file);
  // Returns the clone of this member, a file without a name. Empty if no clone was made.
  UniqueFd Take(const std::string& member);

 private:
  static constexpr size_t kMaxWaiting = 128;  // each holds an fd

  struct Waiting {
    std::string member;
    UniqueFd file;
  };

  const std::string directory_;
  std::mutex mutex_;
  std::deque<Waiting> waiting_;
  bool possible_ = true;
};

}  // namespace layerstack
