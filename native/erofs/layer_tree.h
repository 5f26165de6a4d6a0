// The tree that the tar of a layer makes, by the rules of extraction (tree/apply, tree/tree_writer) and with
// the kernel's part in it: names may lead through links of the layer, whiteouts become removals, the header
// of a hard link counts for the inode that it shares, a default ACL is handed down. What extraction refuses
// is refused here in the same words.
#pragma once

#include <string>
#include <vector>

#include "erofs/tree.h"

namespace layerstack::erofs {

class LayerTree : public Tree {
 public:
  using Tree::Tree;

  // The regular file whose content follows, or nothing. Throws ERR_LAYER_INVALID, ERR_LAYER_ESCAPE,
  // ERR_LIMIT_EXCEEDED.
  Node* Add(const TarMember& member);
  // Puts a layer over this one, as an overlay shows the two: the removals of both are carried out, and are
  // gone.
  void PutOver(LayerTree&& upper);
  // Carries out the removals of a layer that has none below it.
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
