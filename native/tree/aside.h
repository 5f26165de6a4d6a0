// What members of a layer have replaced, kept until the end of the layer: the tar-split may already say that the
// bytes of a replaced file are found at its name. Fold rewrites it so that it carries them itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "sys/fd.h"
#include "tree/prefix_hash.h"

namespace layerstack {

class Aside {
 public:
  // `diff`: the layer's directory; what is replaced goes to `<diff>.aside`, made when first needed.
  explicit Aside(std::string diff);

  // Moves the entry away. `path`: where it really is. `recorded`: how many file entries the tar-split has so far.
  void Keep(int dir, const char* name, const std::string& path, uint64_t recorded);
  bool Empty() const { return count_ == 0; }
  // Rewrites the tar-split at `path` (by a new file renamed over it), then removes everything kept. `check` is called
  // at every entry, and may throw.
  void Fold(const std::string& path, const std::function<void()>& check);

 private:
  struct Kept {
    uint64_t recorded;
    uint64_t number;
  };
  std::string Find(const std::string& name, uint64_t entry) const;
  void Rewrite(const std::string& path, int output, const std::function<void()>& check);

  std::string root_;
  UniqueFd fd_;
  uint64_t count_ = 0;
  PrefixKey key_;
  std::unordered_map<PrefixHash::Value, std::vector<Kept>, PrefixHash::Index> by_path_;
};

}  // namespace layerstack
