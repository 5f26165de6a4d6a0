#include "format/tar_header.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace layerstack {

namespace {

std::string_view Field(const char* block, size_t offset, size_t length) { return {block + offset, length}; }

std::string_view CString(std::string_view field) { return field.substr(0, field.find('\0')); }

std::optional<int64_t> ParseOctal(std::string_view field) {
  constexpr std::string_view kBlank(" \0", 2);
  size_t first = field.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return 0;
  field = CString(field.substr(first, field.find_last_not_of(kBlank) - first + 1));
  uint64_t value = 0;
  auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
  if (error != std::errc() || end != field.data() + field.size()) return std::nullopt;
  return static_cast<int64_t>(value);
}

// Two's complement, big-endian; the first byte's top bit only says that it is base-256.
std::optional<int64_t> ParseBase256(std::string_view field) {
  uint8_t invert = (field[0] & 0x40) ? 0xff : 0;
  uint64_t value = 0;
  for (size_t i = 0; i < field.size(); ++i) {
    uint8_t byte = static_cast<uint8_t>(field[i]) ^ invert;
    if (i == 0) byte &= 0x7f;
    if (value >> 56) return std::nullopt;
    value = value << 8 | byte;
  }
  if (value >> 63) return std::nullopt;
  return static_cast<int64_t>(invert ? ~value : value);
}

// Some writers summed signed chars, so both sums are taken.
bool ChecksumFits(const char* block) {
  std::optional<int64_t> expected = ParseOctal(Field(block, 148, 8));
  if (!expected) return false;
  // The compiler vectorizes loops without branches. Speed matters: an index reads all headers of an image.
  uint32_t plain = 0;
  for (size_t i = 0; i < kTarBlock; ++i) plain += static_cast<unsigned char>(block[i]);
  uint32_t high = 0;
  for (size_t i = 0; i < kTarBlock; ++i) high += static_cast<unsigned char>(block[i]) >> 7;
  // The checksum's own field counts as blanks.
  for (char byte : Field(block, 148, 8)) {
    plain += ' ' - static_cast<unsigned char>(byte);
    high -= static_cast<unsigned char>(byte) >> 7;
  }
  const int64_t with_sign = int64_t{plain} - 256 * int64_t{high};
  return *expected == plain || *expected == with_sign;
}

TarFormat FormatOf(const char* block) {
  std::string_view magic = Field(block, 257, 6);
  if (magic == std::string_view("ustar\0", 6)) {
    return Field(block, 508, 4) == std::string_view("tar\0", 4) ? TarFormat::kStar : TarFormat::kUstar;
  }
  if (magic == "ustar " && Field(block, 263, 2) == std::string_view(" \0", 2)) return TarFormat::kGnu;
  return TarFormat::kV7;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) > 0; });
}

}  // namespace

bool IsZeroBlock(const char* block) {
  return block[0] == 0 && std::memcmp(block, block + 1, kTarBlock - 1) == 0;
}

std::optional<int64_t> ParseTarNumber(std::string_view field) {
  if (!field.empty() && (field[0] & 0x80)) return ParseBase256(field);
  return ParseOctal(field);
}

std::optional<int64_t> ParseDecimal(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 10);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<TarHeader> ParseTarHeader(const char* block) {
  if (!ChecksumFits(block)) return std::nullopt;
  TarHeader header;
  bool valid = true;
  auto number = [&](size_t offset, size_t length) {
    std::optional<int64_t> value = ParseTarNumber(Field(block, offset, length));
    if (!value) valid = false;
    return value.value_or(0);
  };
  header.format = FormatOf(block);
  header.type = block[156];
  header.name = CString(Field(block, 0, 100));
  header.linkname = CString(Field(block, 157, 100));
  header.mode = number(100, 8);
  header.uid = number(108, 8);
  header.gid = number(116, 8);
  header.size = number(124, 12);
  header.mtime.seconds = number(136, 12);

  std::string_view prefix;
  if (header.format != TarFormat::kV7) {
    header.device_major = number(329, 8);
    header.device_minor = number(337, 8);
  }
  if (header.format == TarFormat::kUstar) {
    prefix = CString(Field(block, 345, 155));
  } else if (header.format == TarFormat::kStar) {
    prefix = CString(Field(block, 345, 131));
    header.atime = TarTime{number(476, 12), 0};
    number(488, 12);  // ctime: unused, but it must be well-formed
  } else if (header.format == TarFormat::kGnu) {
    // Writers before Go 1.8 put a ustar prefix where GNU has its times. A field that is not a time is a
    // prefix.
    bool times = true;
    for (size_t offset : {345, 357}) {
      if (block[offset] == 0) continue;
      std::optional<int64_t> time = ParseTarNumber(Field(block, offset, 12));
      if (!time) times = false;
      if (time && offset == 345) header.atime = TarTime{*time, 0};
    }
    if (!times) {
      header.atime.reset();
      std::string_view misplaced = CString(Field(block, 345, 155));
      if (IsAscii(misplaced)) prefix = misplaced;
    }
  }
  if (!prefix.empty()) header.name = std::string(prefix) + "/" + header.name;
  if (!valid) return std::nullopt;
  return header;
}

}  // namespace layerstack
