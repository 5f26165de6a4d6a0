// The names seen in a layer, as 64-bit keyed hashes: 8 bytes a name instead of its text. A false "seen" only
// costs space. Its chance is n^2 / 2^65, and a layer cannot raise it, since the key is random.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace layerstack {

class NameSet {
 public:
  NameSet();
  // Returns whether the name was new.
  bool Insert(std::string_view name);

 private:
  uint64_t Hash(std::string_view name) const;
  bool Place(uint64_t hash);
  void Grow();

  uint64_t key_[2];
  std::vector<uint64_t> slots_;  // open addressing, 0 is free
  size_t used_ = 0;
};

}  // namespace layerstack
