// Writes a Tree as an EROFS image with 4 KiB blocks and the contents inside: superblock, contents in the order in which they come,
// inodes, directories. The same tree and contents give the same bytes: there is no time of building but the given one, and the
// UUID is zero. Holes of sparse files are holes of the image.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "codec/tar_reader.h"
#include "erofs/format.h"
#include "erofs/tree.h"

namespace layerstack::erofs {

class Writer {
 public:
  // `fd`: an empty regular file, which stays the caller's.
  explicit Writer(int fd) : fd_(fd) {}

  // What `reader` has of the member's payload becomes the content of `node`.
  void Content(Node& node, const TarMember& member, TarReader& reader);
  // All the rest. `build_time`: seconds since 1970. Once; nothing is synced.
  void Finish(Tree& tree, int64_t build_time);

 private:
  struct Pending {
    uint32_t index;
    Layout layout;
    uint64_t outside;  // bytes of a directory that lie in blocks of their own
    uint32_t block;    // the first of them, counted from where directories begin
  };

  void Sparse(Node& node, const TarMember& member, TarReader& reader);
  uint32_t Take(uint64_t bytes);
  void Number(Tree& tree);
  void Place(Tree& tree, uint32_t index);
  std::string Inode(Tree& tree, const Pending& pending, uint32_t number, uint32_t directories, std::string_view tail);
  void WriteAt(uint64_t offset, std::string_view bytes);
  void Superblock(Tree& tree, int64_t build_time, uint32_t meta);

  int fd_;
  uint64_t next_ = 1;  // block
  bool chunked_ = false;
  std::vector<Pending> pending_;
  uint64_t meta_size_ = 2 * kSlot;  // so that no inode is number 0
  uint64_t directory_blocks_ = 0;
};

}  // namespace layerstack::erofs
