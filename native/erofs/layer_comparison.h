// Compares the directory of a layer with its tar, which its tar-split rebuilds: contents, kinds, modes,
// owners, times, link targets, device numbers, attributes, groups of hard links, whiteouts, opaque marks,
// missing and additional entries. The tar is read under the rules of extraction (erofs/layer_tree). Memory:
// erofs/tree, and the names of one directory and of those above it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace layerstack::erofs {

struct ComparisonSource {
  std::string diff;
  std::string tar_split;
  std::string diff_id;  // hex
  // Reads the contents of files. Without it, only sizes are compared, nothing is proven, and metadata and
  // whiteouts are not compared: dockerd extracts some layers through a mount, which makes different whiteouts
  // with the same effect.
  bool contents = true;
  // BuildKit makes a layer of an upper: attributes, sockets and the root's metadata that its tar lacks do not
  // count as differences.
  bool of_upper = false;
  // Are added to the owners in the tar, for a root of user namespaces.
  uint32_t first_uid = 0;
  uint32_t first_gid = 0;
  // Stops at the first difference that is not of metadata.
  bool stop_early = false;
  // Sets modes, owners, times and attributes as the tar has them, if the tar has the DiffID.
  bool set_metadata = false;
  // The most bytes of the tar that are read in a second; 0 for no bound.
  uint64_t rate = 0;
};

struct Difference {
  enum class Kind {
    kContent,   // the bytes of a file
    kTree,      // an entry is missing, additional, of another kind, or not linked as it should be
    kMetadata,  // mode, owner, time or attributes
  };
  Kind kind;
  std::string path;
  std::string what;
  bool repaired = false;
};

inline constexpr size_t kMaxDifferences = 100;

struct Comparison {
  // The rebuilt tar has the DiffID, so its headers are those of the layer.
  bool proven = false;
  std::string digest;
  // The first of `count`.
  std::vector<Difference> differences;
  uint64_t count = 0;
  uint64_t metadata = 0;  // the number of them that are about metadata
};

// Calls `going` regularly, which may throw. Throws ERR_STORE_CORRUPT for a damaged tar-split, ERR_LAYER_...
// for headers that no layer can have, and system errors.
Comparison CompareLayer(const ComparisonSource& source, const std::function<void()>& going);

}  // namespace layerstack::erofs
