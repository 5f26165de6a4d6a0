// One 512-byte tar header block, decoded: v7, ustar, star and GNU. Accepts and refuses exactly the headers
// that Go's archive/tar does (the fork in tar-split 0.11, by which dockerd reads layers), so that a layer
// means the same to both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace layerstack {

inline constexpr size_t kTarBlock = 512;

struct TarTime {
  int64_t seconds = 0;
  int64_t nanoseconds = 0;  // 0 to 999'999'999, also before 1970

  auto operator<=>(const TarTime&) const = default;
};

enum class TarFormat { kV7, kUstar, kStar, kGnu };

struct TarHeader {
  TarFormat format = TarFormat::kV7;
  char type = '0';
  std::string name;
  std::string linkname;
  int64_t mode = 0;
  int64_t uid = 0;
  int64_t gid = 0;
  int64_t size = 0;  // may be negative: the caller refuses that if the size counts
  TarTime mtime;
  std::optional<TarTime> atime;
  int64_t device_major = 0;
  int64_t device_minor = 0;
};

bool IsZeroBlock(const char* block);
// Nothing if the checksum is wrong or a number is malformed.
std::optional<TarHeader> ParseTarHeader(const char* block);

// A numeric field: octal with blanks and NULs around it, or base-256. Nothing if it is malformed.
std::optional<int64_t> ParseTarNumber(std::string_view field);

// Decimal with an optional sign, nothing around it: PAX records and sparse maps.
std::optional<int64_t> ParseDecimal(std::string_view text);

}  // namespace layerstack
