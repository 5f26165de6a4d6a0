// What layerdb's `size` file holds, by walking a layer's directory.
#pragma once

#include <cstdint>

namespace layerstack {

// st_size summed over the unique inodes below `dir` that are no directories. What vanishes meanwhile does not count.
uint64_t ContentSize(int dir);

}  // namespace layerstack
