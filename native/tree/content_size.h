// The number that layerdb's `size` file holds, by walking a layer's directory.
#pragma once

#include <cstdint>

namespace layerstack {

// The sum of st_size over the unique inodes below `dir` that are not directories. Entries that vanish
// meanwhile do not count.
uint64_t ContentSize(int dir);

}  // namespace layerstack
