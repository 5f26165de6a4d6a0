#include "format/tar_writer.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace layerstack {

namespace {

constexpr uint64_t kMaxOctal7 = 07777777;       // uid, gid, device numbers: 7 digits and a NUL
constexpr uint64_t kMaxOctal11 = 077777777777;  // size, mtime: 11 digits and a NUL
constexpr size_t kNameField = 100;
constexpr size_t kPrefixField = 155;

bool IsAscii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x80; });
}

// Where to split `name` into ustar's prefix and name. npos if it does not fit.
size_t SplitPoint(const std::string& name) {
  size_t last = std::min(name.size(), kPrefixField + 1);
  if (name.size() > 1 && name[last - 1] == '/' && last == name.size()) --last;  // the rest must not be empty
  size_t slash = name.rfind('/', last - 1);
  if (slash == std::string::npos || slash == 0 || slash > kPrefixField) return std::string::npos;
  size_t rest = name.size() - slash - 1;
  return rest >= 1 && rest <= kNameField ? slash : std::string::npos;
}

struct Block {
  char bytes[kTarBlock] = {};

  void Text(size_t offset, size_t width, const std::string& text) {
    std::memcpy(bytes + offset, text.data(), std::min(width, text.size()));
  }
  void Octal(size_t offset, size_t width, uint64_t value) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%0*llo", static_cast<int>(width - 1),
                  static_cast<unsigned long long>(value));
    std::memcpy(bytes + offset, digits, width - 1);
  }
  void Checksum() {
    std::memset(bytes + 148, ' ', 8);
    unsigned sum = 0;
    for (unsigned char c : bytes) sum += c;
    std::snprintf(bytes + 148, 8, "%06o", sum);  // six digits and a NUL; the space stays
  }
};

// Returns a name for the plain fields where PAX has the exact one: without non-ASCII bytes, and cut to fit.
std::string Plain(const std::string& name) {
  std::string plain;
  for (char c : name) {
    if (static_cast<unsigned char>(c) < 0x80) plain.push_back(c);
  }
  if (plain.size() > kNameField) plain.resize(kNameField);
  return plain;
}

Block Header(const TarEntry& member) {
  Block block;
  size_t split = std::string::npos;
  if (IsAscii(member.name) && member.name.size() > kNameField) split = SplitPoint(member.name);
  if (split != std::string::npos) {
    block.Text(345, kPrefixField, member.name.substr(0, split));
    block.Text(0, kNameField, member.name.substr(split + 1));
  } else {
    block.Text(0, kNameField, Plain(member.name));
  }
  block.Octal(100, 8, member.mode);
  block.Octal(108, 8, member.uid <= kMaxOctal7 ? member.uid : 0);
  block.Octal(116, 8, member.gid <= kMaxOctal7 ? member.gid : 0);
  block.Octal(124, 12, member.size <= kMaxOctal11 ? member.size : 0);
  block.Octal(136, 12,
              member.mtime.tv_sec >= 0 && static_cast<uint64_t>(member.mtime.tv_sec) <= kMaxOctal11
                  ? static_cast<uint64_t>(member.mtime.tv_sec)
                  : 0);
  block.bytes[156] = member.type;
  block.Text(157, kNameField, Plain(member.linkname));
  std::memcpy(block.bytes + 257,
              "ustar\0"
              "00",
              8);
  block.Octal(329, 8, member.device_major);
  block.Octal(337, 8, member.device_minor);
  block.Checksum();
  return block;
}

// "LENGTH KEY=VALUE\n", where LENGTH counts itself.
std::string PaxRecord(const std::string& key, const std::string& value) {
  size_t rest = key.size() + value.size() + 3;
  size_t length = rest + std::to_string(rest).size();
  length = rest + std::to_string(length).size();
  return std::to_string(length) + " " + key + "=" + value + "\n";
}

// Seconds and nanoseconds as a decimal number. The fraction of a negative time counts downwards.
std::string PaxTime(const timespec& time) {
  long long seconds = time.tv_sec;
  long nanoseconds = time.tv_nsec;
  bool negative = seconds < 0;
  if (negative && nanoseconds > 0) {
    ++seconds;
    nanoseconds = 1000000000L - nanoseconds;
  }
  std::string text = (negative ? "-" : "") + std::to_string(negative ? -seconds : seconds);
  if (nanoseconds == 0) return text;
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%09ld", nanoseconds);
  text += fraction;
  return text.substr(0, text.find_last_not_of('0') + 1);
}

// Adds to `records` what the header cannot hold.
std::string PaxText(const TarEntry& member, std::map<std::string, std::string> records) {
  bool fits = IsAscii(member.name) &&
              (member.name.size() <= kNameField || SplitPoint(member.name) != std::string::npos);
  if (!fits) records["path"] = member.name;
  if (member.linkname.size() > kNameField || !IsAscii(member.linkname)) records["linkpath"] = member.linkname;
  if (member.uid > kMaxOctal7) records["uid"] = std::to_string(member.uid);
  if (member.gid > kMaxOctal7) records["gid"] = std::to_string(member.gid);
  if (member.size > kMaxOctal11) records["size"] = std::to_string(member.size);
  if (member.mtime.tv_sec < 0 || member.mtime.tv_nsec != 0 ||
      static_cast<uint64_t>(member.mtime.tv_sec) > kMaxOctal11) {
    records["mtime"] = PaxTime(member.mtime);
  }
  for (const auto& [name, value] : member.xattrs) records["SCHILY.xattr." + name] = value;
  std::string text;
  for (const auto& [key, value] : records) text += PaxRecord(key, value);
  return text;
}

// The name of an extended header. Extractors that do not understand PAX make a file of that name: in `folder`
// beside the member.
std::string NameBeside(const std::string& name, const char* folder) {
  std::string bare = name;
  while (bare.size() > 1 && bare.back() == '/') bare.pop_back();
  size_t slash = bare.rfind('/');
  std::string directory = slash == std::string::npos ? "" : bare.substr(0, slash + 1);
  return directory + folder + "/" + (slash == std::string::npos ? bare : bare.substr(slash + 1));
}

std::string Encode(const TarEntry& member, std::map<std::string, std::string> records,
                   const std::string& name) {
  std::string bytes;
  std::string text = PaxText(member, std::move(records));
  if (!text.empty()) {
    TarEntry extended;
    extended.name = Plain(NameBeside(name, "PaxHeaders.0"));
    extended.type = 'x';
    extended.size = text.size();
    Block block = Header(extended);
    bytes.append(block.bytes, kTarBlock);
    bytes += text;
    bytes.append(TarPadding(text.size()), '\0');
  }
  Block block = Header(member);
  bytes.append(block.bytes, kTarBlock);
  return bytes;
}

}  // namespace

std::string EncodeTarHeader(const TarEntry& member) {
  if (!member.sparse) return Encode(member, {}, member.name);
  std::string map = EncodeSparseMap(*member.sparse, member.size);
  TarEntry packed = member;
  packed.name = NameBeside(member.name, "GNUSparseFile.0");
  packed.size = map.size();
  for (const SparseFragment& fragment : *member.sparse) packed.size += static_cast<uint64_t>(fragment.length);
  return Encode(packed,
                {{"GNU.sparse.major", "1"},
                 {"GNU.sparse.minor", "0"},
                 {"GNU.sparse.name", member.name},
                 {"GNU.sparse.realsize", std::to_string(member.size)}},
                member.name) +
         map;
}

}  // namespace layerstack
