// How a stream is compressed, by its first bytes.
#pragma once

#include <cstddef>

namespace layerstack {

enum class Compression { kNone, kGzip, kZstd, kBzip2, kXz };

inline constexpr size_t kSniffBytes = 6;
// Fewer bytes than kSniffBytes mean that the stream is that short.
Compression SniffCompression(const void* head, size_t length);
// "none", "gzip", "zstd", "bzip2" or "xz".
const char* CompressionName(Compression compression);

}  // namespace layerstack
