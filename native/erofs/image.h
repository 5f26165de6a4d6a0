// Writes a root file system as an EROFS image. tree/layer_tar makes a tar of the tree, as for `export`, and
// format/tar_reader reads that tar under the rules of extraction. Contents are read once. Memory: as in
// erofs/tree.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tree/warnings.h"

namespace layerstack::erofs {

struct ImageSource {
  std::string root;
  // Relative to `root`, topmost first. They are read through an overlay that is not attached to a path.
  // Without lowers `root` itself is read.
  std::vector<std::string> lowers;
  // The upper bound of all times in the image, in seconds since 1970, and the image's own time; default 0.
  std::optional<int64_t> latest_mtime;
  // The time of the root directory, in seconds since 1970; default: the directory's own.
  std::optional<int64_t> root_mtime;
  // Whether a time that does not fit into 32 bits (before 1901, after 2038) becomes the nearest that does.
  bool narrow_times = false;
};

// Writes to `fd`, an empty regular file; nothing is synced. Throws what tree/layer_tar throws,
// ERR_LIMIT_EXCEEDED beyond 16 TiB, and system errors. It calls `going` regularly, which may throw to stop
// it.
Warnings WriteImage(const ImageSource& source, int fd, const std::function<void()>& going);

}  // namespace layerstack::erofs
