// Compares the metadata of one entry of a layer with its node, and sets it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "erofs/tree.h"

namespace layerstack::erofs {

// An entry of a directory that is open for reading.
struct LayerEntry {
  int directory;
  const std::string& name;
  const struct stat& info;
};

// What `ComparisonSource` says about metadata: see layer_comparison.h.
struct MetadataRules {
  bool of_upper;
  uint32_t first_uid;
  uint32_t first_gid;
};

// The kind, the link target or the device number where it differs: "is a file instead of a directory". Empty
// where they agree. Then the metadata can be compared.
std::string DifferentKind(const LayerEntry& entry, const Node& node);
// The facts that differ: "mode 0644 instead of 0755, owner 1:1 instead of 0:0". Empty where all agree. A
// whiteout has none.
std::string DifferentMetadata(const LayerEntry& entry, const Node& node, const MetadataRules& rules);
// Sets owner, attributes, mode and time of the node. Throws the errno.
void SetMetadata(const LayerEntry& entry, const Node& node, const MetadataRules& rules);

}  // namespace layerstack::erofs
