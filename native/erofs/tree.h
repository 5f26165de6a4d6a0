// The tree of a tar's members, in memory, under the rules of extraction (tree/unpack): missing parents are
// made with mode 0755, directories are merged, and a later member replaces an earlier one. Contents stay
// outside. Memory for each entry: about 300 bytes, its name, link target and attributes, and for a sparse
// file up to 64 KiB of chunk map, or the map in the tar.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/tar_reader.h"
#include "tree/warnings.h"

namespace layerstack::erofs {

struct ChunkMap {
  unsigned bits = 0;             // of a chunk's size in blocks
  std::vector<uint32_t> blocks;  // kHole where there is none
};

// Data that is copied from the node's device into the image: that of a sparse member, whose blocks are not
// aligned in the tar.
struct SparseSource {
  uint64_t offset;
  SparseMap map;
};

// Returns a device number as the kernel packs it.
uint32_t PackedNumber(dev_t device);

using Xattrs = std::map<std::string, std::string>;

struct Node {
  using Children = std::map<std::string, uint32_t>;  // sorted bytewise, as dirents are

  mode_t mode = S_IFDIR | 0755;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 0;
  uint32_t parent = 0;
  uint32_t nanoseconds = 0;
  int64_t seconds = 0;
  uint64_t size = 0;
  uint64_t nid = 0;
  uint32_t number = 0;  // of a device, see PackedNumber
  uint32_t block = 0;   // where the content begins
  uint16_t device = 0;  // the device that holds the content; 0: the image itself
  bool opaque = false;  // hides the entries of lower layers
  bool dated = false;   // a member has set its time
  std::string target;   // of a link
  std::unique_ptr<Xattrs> xattrs;
  std::unique_ptr<ChunkMap> chunks;
  std::unique_ptr<SparseSource> sparse;
  std::unique_ptr<Children> children;

  bool IsWhiteout() const { return S_ISCHR(mode) && number == 0; }
};

class Tree {
 public:
  static constexpr uint32_t kRoot = 0;

  explicit Tree(Warnings& warnings);

  // Adds a member. Returns the regular file whose content follows, or null. Throws ERR_LAYER_INVALID,
  // ERR_LAYER_ESCAPE.
  Node* Add(const TarMember& member);
  // Sets owner, mode, time and attributes from the member.
  void SetRoot(const TarMember& member) { Describe(At(kRoot), member, S_IFDIR); }

  size_t Size() const { return nodes_.size(); }
  Node& At(uint32_t index) { return nodes_[index]; }
  const Node& At(uint32_t index) const { return nodes_[index]; }
  // Bytes of all files and links, hard links once: what docker calls the size of a layer.
  uint64_t ContentSize() const;

 protected:
  // Returns a new node in the place of the existing one, or the existing directory.
  uint32_t Make(uint32_t parent, const std::string& name, bool directory);
  // Sets the remaining facts of a new node: link target, device number, size.
  void Fill(Node& node, const TarMember& member, mode_t kind);

  std::deque<Node> nodes_;
  Warnings& warnings_;
  std::optional<std::string> parent_path_;  // of the last member; `parent_` is its node
  uint32_t parent_ = kRoot;

 private:
  uint32_t Parent(const std::string& path);
  void Link(uint32_t parent, const std::string& name, const TarMember& member);
  void Describe(Node& node, const TarMember& member, mode_t kind);
};

}  // namespace layerstack::erofs
