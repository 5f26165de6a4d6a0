// Writes an index over layers that stay tars: an EROFS image with 512-byte blocks whose files point into the
// tars. The index, mounted with the tars as its devices, is the root file system. Nothing is unpacked.
// format/tar_reader reads the tars under the rules of layers (erofs/layer_tree), on one thread for each core.
// Memory: erofs/tree, and 256 KiB for each thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "erofs/writer.h"
#include "format/tar_reader.h"
#include "tree/warnings.h"

namespace layerstack::erofs {

// A plain tar in a device.
struct IndexLayer {
  uint16_t device;  // counted from 1
  uint64_t offset;
  uint64_t size;
};

struct IndexSource {
  std::vector<Device> devices;
  // The lowest first. The index of several layers shows what an overlay of them would show. The index of a
  // single layer keeps its whiteouts, in overlayfs's form, unless it is `whole`.
  std::vector<IndexLayer> layers;
  bool whole = true;
  bool hashed = true;  // without it, contents are not read
  TarLimits limits;
  uint64_t max_bytes = UINT64_MAX;  // of each tar, holes included
};

struct Indexed {
  std::vector<std::string> diff_ids;  // of the layers, hex; empty where they are not hashed
  Warnings warnings;
};

// Writes to `fd`, an empty regular file; nothing is synced. Throws as extraction does, with the facts
// `member` and `layer` (counted from 0) where one is at fault, and system errors. Several threads call
// `going` regularly, which throws to stop them.
Indexed WriteIndex(const IndexSource& source, int fd, const std::function<void()>& going);

}  // namespace layerstack::erofs
