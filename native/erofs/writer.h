// Writes a Tree as an EROFS image: superblock, contents in the order in which they come, inodes, directories.
// Contents are in the image, or on devices that are mounted with it. The same tree and contents give the same
// bytes: the build time is given, and the UUID is zero. Holes of sparse files are holes of the image.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "erofs/format.h"
#include "erofs/tree.h"
#include "format/tar_reader.h"

namespace layerstack::erofs {

// A file with contents. The caller keeps owning it.
struct Device {
  int fd;
  uint64_t size;
  std::string tag;  // tells readers of the image what the device is; at most 64 bytes
};

class Writer {
 public:
  // `fd`: an empty regular file. The caller keeps owning it.
  Writer(int fd, unsigned block_bits, std::vector<Device> devices = {});

  // Writes the rest of the member's payload from `reader` as the content of `node`.
  void Content(Node& node, const TarMember& member, TarReader& reader);
  // Lets the content of `node` point to `offset` of its device. Throws ERR_LIMIT_EXCEEDED.
  void Refer(Node& node, uint64_t offset) const;
  // Replaces a device (counted from 1) before Finish, for a file that grows meanwhile.
  void SetDevice(uint16_t number, Device device) { devices_.at(number - 1U) = std::move(device); }
  // Writes inodes, directories and the superblock. `build_time`: seconds since 1970. It is called once, and
  // syncs nothing.
  void Finish(Tree& tree, int64_t build_time);

 private:
  struct Pending {
    uint32_t index;
    Layout layout;
    uint64_t outside;  // bytes of a directory that lie in blocks of their own
    uint32_t block;    // the first of these blocks, counted from where directories begin
  };

  class SparseChunks;

  uint64_t BlocksOf(uint64_t bytes) const;
  void Sparse(Node& node, const TarMember& member, TarReader& reader);
  void CopySparse(Node& node);
  uint32_t Take(uint64_t bytes);
  void Number(Tree& tree);
  void Place(Tree& tree, uint32_t index);
  std::string Inode(Tree& tree, const Pending& pending, uint32_t number, uint32_t directories,
                    std::string_view tail);
  void WriteAt(uint64_t offset, std::string_view bytes);
  void Superblock(Tree& tree, int64_t build_time, uint32_t meta);

  int fd_;
  unsigned block_bits_;
  uint64_t block_;
  std::vector<Device> devices_;
  uint64_t next_;  // block
  bool chunked_ = false;
  std::vector<Pending> pending_;
  uint64_t meta_size_ = 2 * kSlot;  // so that no inode is number 0
  uint64_t directory_blocks_ = 0;
};

}  // namespace layerstack::erofs
