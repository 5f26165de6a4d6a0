// Files and directories of a layer that later members of the same layer have replaced, kept until the end of
// the layer. The tar-split may already say that the bytes of a replaced file are found at its name. FoldInto
// rewrites the tar-split so that it carries these bytes itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "sys/fd.h"
#include "tree/prefix_hash.h"

namespace layerstack {

class ReplacedFiles {
 public:
  // `diff`: the layer's directory. Replaced files go to `<diff>.replaced`, which is made when first needed.
  explicit ReplacedFiles(std::string diff);

  // Moves the entry away. `path`: where it really is. `recorded`: how many file entries the tar-split has so
  // far.
  void Add(int dir, const char* name, const std::string& path, uint64_t recorded);
  bool Empty() const { return count_ == 0; }
  // Rewrites the tar-split at `path` (by a new file renamed over it), then removes the replaced files. Calls
  // `check` at every entry; it may throw.
  void FoldInto(const std::string& path, const std::function<void()>& check);

 private:
  struct Replaced {
    uint64_t recorded;
    uint64_t number;  // its name in `<diff>.replaced`
  };
  std::string Find(const std::string& name, uint64_t entry) const;
  void Rewrite(const std::string& path, int output, const std::function<void()>& check);

  std::string root_;
  UniqueFd fd_;
  uint64_t count_ = 0;
  PrefixKey key_;
  std::unordered_map<PrefixHash::Value, std::vector<Replaced>, PrefixHash::Index> by_path_;
};

}  // namespace layerstack
