#include "erofs/writer.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "erofs/xattrs.h"
#include "sys/failure.h"

namespace layerstack::erofs {

namespace {

constexpr uint64_t kMostChunks = 1 << 14;
constexpr size_t kFlushAt = 1 << 20;
constexpr char kOpaque[] = "trusted.overlay.opaque";

uint8_t FileTypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return 1;
    case S_IFDIR: return 2;
    case S_IFCHR: return 3;
    case S_IFBLK: return 4;
    case S_IFIFO: return 5;
    default: return 7;
  }
}

struct DirentName {
  std::string_view name;
  uint32_t node;
};

// Returns the entries with `.` and `..`, sorted bytewise.
std::vector<DirentName> DirentsOf(const Node& node, uint32_t index) {
  std::vector<DirentName> list{{".", index}, {"..", node.parent}};
  for (const auto& [name, child] : *node.children) list.push_back({name, child});
  std::sort(list.begin(), list.end(),
            [](const DirentName& a, const DirentName& b) { return a.name < b.name; });
  return list;
}

// Returns the number of entries from `first` that fit one block, and their bytes.
size_t FitBlock(const std::vector<DirentName>& list, size_t first, uint64_t block, uint64_t* bytes) {
  size_t end = first;
  for (*bytes = 0; end < list.size(); ++end) {
    uint64_t more = kDirentSize + list[end].name.size();
    if (*bytes + more > block) break;
    *bytes += more;
  }
  return end;
}

uint64_t DirectorySize(const std::vector<DirentName>& list, uint64_t block) {
  uint64_t size = 0;
  for (size_t at = 0; at < list.size();) {
    uint64_t bytes;
    at = FitBlock(list, at, block, &bytes);
    size += at < list.size() ? block : bytes;
  }
  return size;
}

std::string DirectoryData(Tree& tree, const std::vector<DirentName>& list, uint64_t block) {
  std::string data;
  for (size_t at = 0; at < list.size();) {
    uint64_t bytes;
    size_t end = FitBlock(list, at, block, &bytes);
    uint64_t name_at = kDirentSize * (end - at);
    for (size_t i = at; i < end; ++i) {
      Put(data, tree.At(list[i].node).nid, 8);
      Put(data, name_at, 2);
      Put(data, FileTypeOf(tree.At(list[i].node).mode), 1);
      Put(data, 0, 1);
      name_at += list[i].name.size();
    }
    for (; at < end; ++at) data += list[at].name;
    if (at < list.size()) data.resize(RoundUp(data.size(), block));
  }
  return data;
}

// Returns the attributes in the image, with overlayfs's mark.
std::string XattrsOf(const Node& node) {
  if (!node.opaque) return node.xattrs ? EncodeXattrs(*node.xattrs, "a directory") : "";
  Xattrs marked = node.xattrs ? *node.xattrs : Xattrs();
  marked[kOpaque] = "y";
  return EncodeXattrs(marked, "a directory");
}

unsigned BitsFor(uint64_t blocks) {
  unsigned bits = 0;
  while (uint64_t{1} << bits < blocks) ++bits;
  return bits;
}

}  // namespace

Writer::Writer(int fd, unsigned block_bits, std::vector<Device> devices)
    : fd_(fd), block_bits_(block_bits), block_(uint64_t{1} << block_bits), devices_(std::move(devices)) {
  next_ = BlocksOf(kSuperblockAt + kSuperblockSize + kDeviceSize * devices_.size());
}

uint64_t Writer::BlocksOf(uint64_t bytes) const { return RoundUp(bytes, block_) / block_; }

uint32_t Writer::Take(uint64_t bytes) {
  uint64_t first = next_;
  uint64_t blocks = BlocksOf(bytes);
  if (blocks > kHole - 1 - first)
    ThrowInput("ERR_LIMIT_EXCEEDED",
               "an EROFS image holds at most " + std::to_string(kHole * block_) + " bytes",
               {{"limit", std::to_string(kHole * block_)}});
  next_ += blocks;
  return static_cast<uint32_t>(first);
}

void Writer::WriteAt(uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t done = Again<::pwrite>(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (done < 0) ThrowErrno(errno, "write");
    offset += static_cast<uint64_t>(done);
    bytes.remove_prefix(static_cast<size_t>(done));
  }
}

void Writer::Content(Node& node, const TarMember& member, TarReader& reader) {
  if (member.size == 0) return;
  if (member.sparse) return Sparse(node, member, reader);
  node.block = Take(member.size);
  uint64_t at = node.block * block_;
  for (std::string_view piece = reader.Payload(); !piece.empty(); piece = reader.Payload()) {
    WriteAt(at, piece);
    at += piece.size();
  }
}

// Content of a sparse file, in chunks. A chunk without data stays a hole.
class Writer::SparseChunks {
 public:
  SparseChunks(Writer& writer, uint64_t size)
      : writer_(writer), size_(size), map_(std::make_unique<ChunkMap>()) {
    auto chunks = [&] { return (writer.BlocksOf(size) + (uint64_t{1} << map_->bits) - 1) >> map_->bits; };
    while (chunks() > kMostChunks && map_->bits < kMaxChunkBits) ++map_->bits;
    map_->blocks.assign(chunks(), kHole);
    bits_ = map_->bits + writer.block_bits_;
  }

  void Write(uint64_t at, std::string_view bytes) {
    while (!bytes.empty()) {
      const uint64_t start = at >> bits_ << bits_;
      const uint64_t end = std::min(start + (uint64_t{1} << bits_), size_);
      uint32_t& block = map_->blocks[at >> bits_];
      if (block == kHole) block = writer_.Take(end - start);
      const std::string_view piece = bytes.substr(0, end - at);
      writer_.WriteAt(block * writer_.block_ + (at - start), piece);
      at += piece.size();
      bytes.remove_prefix(piece.size());
    }
  }

  std::unique_ptr<ChunkMap> Take() {
    writer_.chunked_ = true;
    return std::move(map_);
  }

 private:
  Writer& writer_;
  uint64_t size_;
  std::unique_ptr<ChunkMap> map_;
  unsigned bits_;
};

void Writer::Sparse(Node& node, const TarMember& member, TarReader& reader) {
  SparseChunks chunks(*this, member.size);
  for (const SparseFragment& fragment : *member.sparse) {
    uint64_t at = static_cast<uint64_t>(fragment.offset);
    for (uint64_t left = static_cast<uint64_t>(fragment.length); left > 0;) {
      const std::string_view piece = reader.Payload(left);
      chunks.Write(at, piece);
      at += piece.size();
      left -= piece.size();
    }
  }
  node.chunks = chunks.Take();
}

void Writer::Refer(Node& node, uint64_t offset) const {
  // A payload begins at a block of the tar, and the tar begins at a block of the device.
  if (offset % block_ != 0 || offset / block_ + BlocksOf(node.size) >= kHole) {
    ThrowInput("ERR_LIMIT_EXCEEDED",
               "an EROFS index can point at most " + std::to_string(kHole * block_) + " bytes into a file",
               {{"limit", std::to_string(kHole * block_)}});
  }
  node.block = static_cast<uint32_t>(offset / block_);
}

// Copies the data of a sparse member into the image, because the tar has no offset for each block.
void Writer::CopySparse(Node& node) {
  SparseChunks chunks(*this, node.size);
  const int from = devices_.at(node.device - 1U).fd;
  uint64_t offset = node.sparse->offset;
  std::string piece;
  for (const SparseFragment& fragment : node.sparse->map) {
    uint64_t at = static_cast<uint64_t>(fragment.offset);
    for (uint64_t left = static_cast<uint64_t>(fragment.length); left > 0;) {
      piece.resize(std::min<uint64_t>(left, kFlushAt));
      const ssize_t length = Again<::pread>(from, piece.data(), piece.size(), static_cast<off_t>(offset));
      if (length < 0) ThrowErrno(errno, "pread");
      if (length == 0) ThrowInput("ERR_LAYER_TRUNCATED", "the layer ends within the data of a sparse file");
      chunks.Write(at, std::string_view(piece).substr(0, static_cast<size_t>(length)));
      at += static_cast<uint64_t>(length);
      offset += static_cast<uint64_t>(length);
      left -= static_cast<uint64_t>(length);
    }
  }
  node.device = 0;
  node.chunks = chunks.Take();
  node.sparse.reset();
}

// Gives the inode its place. The target of a link, or the end of a directory, follows the inode in the same
// block if it fits.
void Writer::Place(Tree& tree, uint32_t index) {
  Node& node = tree.At(index);
  Pending pending{index, Layout::kPlain, 0, 0};
  if (node.children) node.size = DirectorySize(DirentsOf(node, index), block_);
  if (node.sparse) CopySparse(node);
  const std::string xattrs = XattrsOf(node);
  uint64_t head = kInodeSize + (xattrs.empty() ? 0 : kXattrHeader + xattrs.size());
  uint64_t behind = 0;
  bool alone = false;  // must not cross the end of a block
  if (node.chunks) {
    pending.layout = Layout::kChunks;
    behind = node.chunks->blocks.size() * 4;
  } else if (node.device > 0) {
    pending.layout = Layout::kChunks;
    chunked_ = true;
    head = RoundUp(head, kChunkIndexSize);
    behind = kChunkIndexSize;
  } else if (node.children || S_ISLNK(node.mode)) {
    uint64_t tail = node.size % block_;
    alone = tail > 0 && head + tail <= block_;
    if (alone) {
      pending.layout = Layout::kInline;
      behind = tail;
    }
    pending.outside = node.size - behind;
    pending.block = static_cast<uint32_t>(directory_blocks_);
    directory_blocks_ += BlocksOf(pending.outside);
  }
  if (alone && meta_size_ % block_ + head + behind > block_) meta_size_ = RoundUp(meta_size_, block_);
  node.nid = meta_size_ / kSlot;
  meta_size_ = RoundUp(meta_size_ + head + behind, kSlot);
  pending_.push_back(pending);
}

// Places the root first, because the superblock has 16 bits for its number.
void Writer::Number(Tree& tree) {
  std::vector<uint32_t> stack{Tree::kRoot};
  while (!stack.empty()) {
    uint32_t index = stack.back();
    stack.pop_back();
    Place(tree, index);
    Node& directory = tree.At(index);
    directory.links += 2;
    for (const auto& [name, child] : *directory.children) {
      Node& node = tree.At(child);
      if (node.children) {
        ++directory.links;
        stack.push_back(child);
      } else if (++node.links == 1) {
        Place(tree, child);
      }
    }
  }
}

std::string Writer::Inode(Tree& tree, const Pending& pending, uint32_t number, uint32_t directories,
                          std::string_view tail) {
  const Node& node = tree.At(pending.index);
  uint32_t where = node.block;
  if (node.chunks) where = node.chunks->bits;
  if (node.device > 0) where = BitsFor(BlocksOf(node.size)) | kChunkIndexes;
  if (pending.outside > 0) where = directories + pending.block;
  if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) where = node.number;
  const std::string xattrs = XattrsOf(node);
  std::string out;
  Put(out, FormatOf(pending.layout), 2);
  Put(out, xattrs.empty() ? 0 : xattrs.size() / 4 + 1, 2);
  Put(out, node.mode, 2);
  Put(out, 0, 2);
  Put(out, node.size, 8);
  Put(out, where, 4);
  Put(out, number, 4);
  Put(out, node.uid, 4);
  Put(out, node.gid, 4);
  Put(out, static_cast<uint64_t>(node.seconds), 8);
  Put(out, node.nanoseconds, 4);
  Put(out, node.links, 4);
  out.resize(kInodeSize);
  if (!xattrs.empty()) {
    out.resize(out.size() + kXattrHeader);
    out += xattrs;
  }
  if (node.chunks) {
    for (uint32_t block : node.chunks->blocks) Put(out, block, 4);
  }
  if (node.device > 0) {
    out.resize(RoundUp(out.size(), kChunkIndexSize));
    Put(out, 0, 2);
    Put(out, node.device, 2);
    Put(out, node.block, 4);
  }
  out += tail;
  return out;
}

void Writer::Finish(Tree& tree, int64_t build_time) {
  Number(tree);
  uint32_t meta = Take(meta_size_);
  uint32_t directories = Take(directory_blocks_ * block_);
  std::string inodes;
  uint64_t written = 0;
  for (size_t i = 0; i < pending_.size(); ++i) {
    const Pending& pending = pending_[i];
    const Node& node = tree.At(pending.index);
    std::string data =
        node.children ? DirectoryData(tree, DirentsOf(node, pending.index), block_) : node.target;
    std::string_view view = data;
    WriteAt((uint64_t{directories} + pending.block) * block_, view.substr(0, pending.outside));
    inodes.resize(node.nid * kSlot - written);
    inodes += Inode(tree, pending, static_cast<uint32_t>(i + 1), directories, view.substr(pending.outside));
    if (inodes.size() < kFlushAt) continue;
    WriteAt(meta * block_ + written, inodes);
    written += inodes.size();
    inodes.clear();
  }
  WriteAt(meta * block_ + written, inodes);
  Superblock(tree, build_time, meta);
  if (Again<::ftruncate>(fd_, static_cast<off_t>(next_ * block_)) < 0) ThrowErrno(errno, "ftruncate");
}

void Writer::Superblock(Tree& tree, int64_t build_time, uint32_t meta) {
  std::string out;
  Put(out, kMagic, 4);
  Put(out, 0, 4);  // no checksum
  Put(out, kCompatMtime, 4);
  Put(out, block_bits_, 1);
  Put(out, 0, 1);
  Put(out, tree.At(Tree::kRoot).nid, 2);
  Put(out, pending_.size(), 8);
  Put(out, static_cast<uint64_t>(build_time), 8);
  Put(out, 0, 4);
  Put(out, next_, 4);
  Put(out, meta, 4);
  Put(out, 0, 4);
  out.resize(out.size() + 16 + 16);  // UUID and name
  Put(out, (chunked_ ? kIncompatChunkedFile : 0) | (devices_.empty() ? 0 : kIncompatDeviceTable), 4);
  Put(out, 0, 2);
  Put(out, devices_.size(), 2);
  Put(out, devices_.empty() ? 0 : (kSuperblockAt + kSuperblockSize) / kDeviceSize, 2);
  out.resize(kSuperblockSize);
  for (const Device& device : devices_) {
    const size_t start = out.size();
    out += device.tag.substr(0, kDeviceTagSize);
    out.resize(start + kDeviceTagSize);
    Put(out, BlocksOf(device.size), 4);
    out.resize(start + kDeviceSize);
  }
  WriteAt(kSuperblockAt, out);
}

}  // namespace layerstack::erofs
