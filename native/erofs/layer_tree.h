// The tree of a layer's tar, by the rules of extraction (tree/apply, tree/tree_writer) and of the kernel:
// names may lead through links of the layer, whiteouts become removals, the header of a hard link sets the
// attributes of the shared inode, and a default ACL is inherited. Extraction and this tree refuse the same
// members with the same messages.
#pragma once

#include <string>
#include <vector>

#include "erofs/tree.h"

namespace layerstack::erofs {

class LayerTree : public Tree {
 public:
  using Tree::Tree;

  // Adds a member. Returns the regular file whose content follows, or null. Throws ERR_LAYER_INVALID,
  // ERR_LAYER_ESCAPE, ERR_LIMIT_EXCEEDED.
  Node* Add(const TarMember& member);
  // Merges a layer over this one, as an overlay of the two does. It carries out the removals of both, and
  // drops them.
  void PutOver(LayerTree&& upper);
  // Carries out the removals of a lowest layer.
  void Resolve();

 private:
  uint32_t Reach(const std::string& path, bool create);
  uint32_t MakeParent(uint32_t parent, const std::string& name);
  uint32_t Place(const std::string& path, bool directory);
  void Whiteout(const TarMember& member, const std::string& path);
  void HardLink(const TarMember& member, const std::string& path);
  std::optional<uint32_t> Linked(const std::string& target);
  void Own(Node& node, const TarMember& member);
  void SetMode(Node& node, mode_t mode);
  void SetTimes(Node& node, const TarMember& member);
  void SetXattrs(Node& node, const TarMember& member);
  void SetXattr(Node& node, const TarMember& member, const std::string& name, const std::string& value);
  void Inherit(uint32_t parent, Node& node);
  std::string PathOf(uint32_t directory, const std::string& name) const;
  void Merge(std::optional<uint32_t> lower, uint32_t upper);
};

}  // namespace layerstack::erofs
