#include "erofs/writer.h"

#include <unistd.h>

#include <algorithm>

#include "sys/failure.h"

namespace layerstack::erofs {

namespace {

constexpr unsigned kBlockBits = 12;
constexpr uint64_t kBlock = 1 << kBlockBits;
constexpr uint64_t kMostChunks = 1 << 14;
constexpr size_t kFlushAt = 1 << 20;

uint64_t BlocksOf(uint64_t bytes) { return RoundUp(bytes, kBlock) / kBlock; }

uint8_t FileTypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return 1;
    case S_IFDIR:
      return 2;
    case S_IFCHR:
      return 3;
    case S_IFBLK:
      return 4;
    case S_IFIFO:
      return 5;
    default:
      return 7;
  }
}

struct DirentName {
  std::string_view name;
  uint32_t node;
};

// With `.` and `..`, sorted bytewise.
std::vector<DirentName> DirentsOf(const Node& node, uint32_t index) {
  std::vector<DirentName> list{{".", index}, {"..", node.parent}};
  for (const auto& [name, child] : *node.children) list.push_back({name, child});
  std::sort(list.begin(), list.end(), [](const DirentName& a, const DirentName& b) { return a.name < b.name; });
  return list;
}

// How many from `first` on fit one block, and the bytes that they take.
size_t FitBlock(const std::vector<DirentName>& list, size_t first, uint64_t* bytes) {
  size_t end = first;
  for (*bytes = 0; end < list.size(); ++end) {
    uint64_t more = kDirentSize + list[end].name.size();
    if (*bytes + more > kBlock) break;
    *bytes += more;
  }
  return end;
}

uint64_t DirectorySize(const std::vector<DirentName>& list) {
  uint64_t size = 0;
  for (size_t at = 0; at < list.size();) {
    uint64_t bytes;
    at = FitBlock(list, at, &bytes);
    size += at < list.size() ? kBlock : bytes;
  }
  return size;
}

std::string DirectoryData(Tree& tree, const std::vector<DirentName>& list) {
  std::string data;
  for (size_t at = 0; at < list.size();) {
    uint64_t bytes;
    size_t end = FitBlock(list, at, &bytes);
    uint64_t name_at = kDirentSize * (end - at);
    for (size_t i = at; i < end; ++i) {
      Put(data, tree.At(list[i].node).nid, 8);
      Put(data, name_at, 2);
      Put(data, FileTypeOf(tree.At(list[i].node).mode), 1);
      Put(data, 0, 1);
      name_at += list[i].name.size();
    }
    for (; at < end; ++at) data += list[at].name;
    if (at < list.size()) data.resize(RoundUp(data.size(), kBlock));
  }
  return data;
}

uint64_t XattrSize(const Node& node) { return node.xattrs.empty() ? 0 : kXattrHeader + node.xattrs.size(); }

}  // namespace

uint32_t Writer::Take(uint64_t bytes) {
  uint64_t first = next_;
  uint64_t blocks = BlocksOf(bytes);
  if (blocks > kHole - 1 - first)
    ThrowInput("ERR_LIMIT_EXCEEDED", "an EROFS image holds at most 16 TiB", {{"limit", std::to_string(kHole * kBlock)}});
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
  uint64_t at = node.block * kBlock;
  for (std::string_view piece = reader.Payload(); !piece.empty(); piece = reader.Payload()) {
    WriteAt(at, piece);
    at += piece.size();
  }
}

void Writer::Sparse(Node& node, const TarMember& member, TarReader& reader) {
  auto map = std::make_unique<ChunkMap>();
  auto chunks = [&] { return (BlocksOf(member.size) + (uint64_t{1} << map->bits) - 1) >> map->bits; };
  while (chunks() > kMostChunks && map->bits < kMaxChunkBits) ++map->bits;
  map->blocks.assign(chunks(), kHole);
  const unsigned bits = map->bits + kBlockBits;
  for (const SparseFragment& fragment : *member.sparse) {
    uint64_t at = static_cast<uint64_t>(fragment.offset);
    for (uint64_t left = static_cast<uint64_t>(fragment.length); left > 0;) {
      uint64_t start = at >> bits << bits;
      uint64_t end = std::min(start + (uint64_t{1} << bits), member.size);
      uint32_t& block = map->blocks[at >> bits];
      if (block == kHole) block = Take(end - start);
      std::string_view piece = reader.Payload(std::min(left, end - at));
      WriteAt(block * kBlock + (at - start), piece);
      at += piece.size();
      left -= piece.size();
    }
  }
  chunked_ = true;
  node.chunks = std::move(map);
}

// Gives the inode its place. What fits goes behind it in its block: the target of a link, the end of a directory.
void Writer::Place(Tree& tree, uint32_t index) {
  Node& node = tree.At(index);
  Pending pending{index, Layout::kPlain, 0, 0};
  if (node.children) node.size = DirectorySize(DirentsOf(node, index));
  uint64_t head = kInodeSize + XattrSize(node);
  uint64_t behind = 0;
  bool alone = false;  // must not cross the end of a block
  if (node.chunks) {
    pending.layout = Layout::kChunks;
    behind = node.chunks->blocks.size() * 4;
  } else if (node.children || S_ISLNK(node.mode)) {
    uint64_t tail = node.size % kBlock;
    alone = tail > 0 && head + tail <= kBlock;
    if (alone) {
      pending.layout = Layout::kInline;
      behind = tail;
    }
    pending.outside = node.size - behind;
    pending.block = static_cast<uint32_t>(directory_blocks_);
    directory_blocks_ += BlocksOf(pending.outside);
  }
  if (alone && meta_size_ % kBlock + head + behind > kBlock) meta_size_ = RoundUp(meta_size_, kBlock);
  node.nid = meta_size_ / kSlot;
  meta_size_ = RoundUp(meta_size_ + head + behind, kSlot);
  pending_.push_back(pending);
}

// The root first, since the superblock has 16 bits for its number.
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

std::string Writer::Inode(Tree& tree, const Pending& pending, uint32_t number, uint32_t directories, std::string_view tail) {
  const Node& node = tree.At(pending.index);
  uint32_t where = node.block;
  if (node.chunks) where = node.chunks->bits;
  if (pending.outside > 0) where = directories + pending.block;
  if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) where = node.device;
  std::string out;
  Put(out, FormatOf(pending.layout), 2);
  Put(out, node.xattrs.empty() ? 0 : node.xattrs.size() / 4 + 1, 2);
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
  if (!node.xattrs.empty()) {
    out.resize(out.size() + kXattrHeader);
    out += node.xattrs;
  }
  if (node.chunks) {
    for (uint32_t block : node.chunks->blocks) Put(out, block, 4);
  }
  out += tail;
  return out;
}

void Writer::Finish(Tree& tree, int64_t build_time) {
  Number(tree);
  uint32_t meta = Take(meta_size_);
  uint32_t directories = Take(directory_blocks_ * kBlock);
  std::string inodes;
  uint64_t written = 0;
  for (size_t i = 0; i < pending_.size(); ++i) {
    const Pending& pending = pending_[i];
    const Node& node = tree.At(pending.index);
    std::string data = node.children ? DirectoryData(tree, DirentsOf(node, pending.index)) : node.target;
    std::string_view view = data;
    WriteAt((uint64_t{directories} + pending.block) * kBlock, view.substr(0, pending.outside));
    inodes.resize(node.nid * kSlot - written);
    inodes += Inode(tree, pending, static_cast<uint32_t>(i + 1), directories, view.substr(pending.outside));
    if (inodes.size() < kFlushAt) continue;
    WriteAt(meta * kBlock + written, inodes);
    written += inodes.size();
    inodes.clear();
  }
  WriteAt(meta * kBlock + written, inodes);
  Superblock(tree, build_time, meta);
  if (Again<::ftruncate>(fd_, static_cast<off_t>(next_ * kBlock)) < 0) ThrowErrno(errno, "ftruncate");
}

void Writer::Superblock(Tree& tree, int64_t build_time, uint32_t meta) {
  std::string out;
  Put(out, kMagic, 4);
  Put(out, 0, 4);  // no checksum
  Put(out, kCompatMtime, 4);
  Put(out, kBlockBits, 1);
  Put(out, 0, 1);
  Put(out, tree.At(Tree::kRoot).nid, 2);
  Put(out, pending_.size(), 8);
  Put(out, static_cast<uint64_t>(build_time), 8);
  Put(out, 0, 4);
  Put(out, next_, 4);
  Put(out, meta, 4);
  Put(out, 0, 4);
  out.resize(out.size() + 16 + 16);  // UUID and name
  Put(out, chunked_ ? kIncompatChunkedFile : 0, 4);
  out.resize(kSuperblockSize);
  WriteAt(kSuperblockAt, out);
}

}  // namespace layerstack::erofs
