#include "codec/sniff.h"

#include <string_view>

namespace layerstack {

Compression SniffCompression(const void* head, size_t length) {
  std::string_view text(static_cast<const char*>(head), length);
  if (text.starts_with("\x1f\x8b\x08")) return Compression::kGzip;
  if (text.starts_with("\x28\xb5\x2f\xfd")) return Compression::kZstd;
  // A skippable zstd frame: 0x184D2A50 to 0x184D2A5F, little-endian.
  if (length >= 4 && (text[0] & 0xf0) == 0x50 && text.substr(1, 3) == "\x2a\x4d\x18")
    return Compression::kZstd;
  if (text.starts_with("BZh")) return Compression::kBzip2;
  if (text.starts_with(std::string_view("\xfd\x37zXZ\0", 6))) return Compression::kXz;
  return Compression::kNone;
}

const char* CompressionName(Compression compression) {
  switch (compression) {
    case Compression::kNone: return "none";
    case Compression::kGzip: return "gzip";
    case Compression::kZstd: return "zstd";
    case Compression::kBzip2: return "bzip2";
    case Compression::kXz: return "xz";
  }
  return "none";
}

}  // namespace layerstack
