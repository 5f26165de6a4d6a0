// The structures of EROFS on disk that the writer uses, as in the kernel's fs/erofs/erofs_fs.h. All numbers
// are little endian.
#pragma once

#include <cstdint>
#include <string>

namespace layerstack::erofs {

inline constexpr uint32_t kMagic = 0xE0F5E1E2;
inline constexpr uint64_t kSuperblockAt = 1024;
inline constexpr size_t kSuperblockSize = 128;
inline constexpr uint32_t kCompatMtime = 0x2;
inline constexpr uint32_t kIncompatChunkedFile = 0x4;
inline constexpr uint32_t kIncompatDeviceTable = 0x8;
inline constexpr size_t kDeviceSize = 128;  // the place of the table is counted in units of it
inline constexpr size_t kDeviceTagSize = 64;

inline constexpr size_t kInodeSize = 64;  // extended
inline constexpr uint64_t kSlot = 32;     // a nid counts units of it
inline constexpr size_t kDirentSize = 12;
inline constexpr size_t kXattrHeader = 12;
inline constexpr uint32_t kHole = UINT32_MAX;
inline constexpr unsigned kMaxChunkBits = 31;    // above the block's
inline constexpr uint32_t kChunkIndexes = 0x20;  // chunks are given with their devices
inline constexpr size_t kChunkIndexSize = 8;     // and aligned to it

// The place of an inode's content.
enum class Layout : uint16_t { kPlain = 0, kInline = 2, kChunks = 4 };
inline uint16_t FormatOf(Layout layout) {
  return static_cast<uint16_t>(1 | static_cast<uint16_t>(layout) << 1);
}

// Appends `size` bytes of `value`.
inline void Put(std::string& to, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) to.push_back(static_cast<char>(value >> (8 * i)));
}
inline uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace layerstack::erofs
