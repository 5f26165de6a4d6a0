// A root file system as an EROFS image. The tree is read as for `export` (tree/layer_tar), and its tar by the
// one reader of tars under the rules of extraction. Contents are read once. Memory: erofs/tree.
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
  // Relative to `root`, topmost first: an overlay of them is read that is mounted nowhere. None: `root`
  // itself is read.
  std::vector<std::string> lowers;
  // Seconds since 1970 that no time in the image exceeds, and the image's own time (else 0).
  std::optional<int64_t> latest_mtime;
};

// Writes to `fd`, an empty regular file; nothing is synced. Throws what tree/layer_tar throws,
// ERR_LIMIT_EXCEEDED beyond 16 TiB, and system errors. `going` is asked now and then, and throws where the
// image is no longer wanted.
Warnings WriteImage(const ImageSource& source, int fd, const std::function<void()>& going);

}  // namespace layerstack::erofs
