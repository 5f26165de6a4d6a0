// What members of a layer have replaced, kept until the end of the layer: the tar-split may already say that the
// bytes of a replaced file are found at its name. Fold rewrites it so that it carries them itself.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sys/fd.h"

namespace layerstack {

class Aside {
 public:
  // `diff`: the layer's directory; what is replaced goes to `<diff>.aside`, made when first needed.
  explicit Aside(std::string diff);

  // Moves the entry away. `path`: where it really is. `recorded`: how many file entries the tar-split has so far.
  void Keep(int dir, const char* name, const std::string& path, uint64_t recorded);
  bool Empty() const { return count_ == 0; }
  // Rewrites the tar-split at `path` (by a new file renamed over it), then removes everything kept.
  void Fold(const std::string& path);

 private:
  struct Kept {
    uint64_t recorded;
    uint64_t number;
  };
  std::string Find(const std::string& name, uint64_t entry) const;
  void Rewrite(const std::string& path, int output);

  std::string root_;
  UniqueFd fd_;
  uint64_t count_ = 0;
  size_t path_bytes_ = 0;  // in the keys of by_path_
  std::map<std::string, std::vector<Kept>> by_path_;
};

}  // namespace layerstack
