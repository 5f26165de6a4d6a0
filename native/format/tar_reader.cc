#include "format/tar_reader.h"

#include <algorithm>
#include <cstring>

#include "sys/failure.h"

namespace layerstack {

namespace {

constexpr std::string_view kXattr = "SCHILY.xattr.";

// Types without content, even if the header's size field says otherwise.
bool IsHeaderOnly(char type) { return type >= '1' && type <= '6'; }

size_t PaddingOf(uint64_t size) { return static_cast<size_t>(-size & (kTarBlock - 1)); }

}  // namespace

TarReader::TarReader(ByteSource& source, RawSink& raw, const TarLimits& limits, const TarErrorCodes& codes)
    : source_(source), raw_(raw), limits_(limits), codes_(codes) {}

void TarReader::Invalid(const std::string& what) const {
  std::vector<std::pair<std::string, std::string>> facts{{"offset", std::to_string(position_)}};
  if (!subject_.empty()) facts.emplace_back("member", subject_);
  ThrowInput(codes_.invalid, what + (current_.empty() ? "" : " (after '" + current_ + "')"),
             std::move(facts));
}

void TarReader::Truncated(const std::string& where) const {
  ThrowInput(codes_.truncated, "the tar ends " + where,
             {{"member", current_}, {"offset", std::to_string(position_)}});
}

bool TarReader::Fill() {
  while (chunk_.empty() && !ended_) {
    chunk_ = source_.Next();
    ended_ = chunk_.empty();
  }
  return !ended_;
}

size_t TarReader::ReadUpTo(char* buffer, size_t length) {
  size_t done = 0;
  while (done < length && Fill()) {
    size_t part = std::min(length - done, chunk_.size());
    std::memcpy(buffer + done, chunk_.data(), part);
    chunk_.remove_prefix(part);
    done += part;
  }
  position_ += done;
  return done;
}

std::string_view TarReader::Payload(uint64_t room) {
  if (payload_left_ == 0) return {};
  if (!Fill()) Truncated("in the content of '" + current_ + "'");
  std::string_view piece = chunk_.substr(0, std::min(payload_left_, room));
  chunk_.remove_prefix(piece.size());
  payload_left_ -= piece.size();
  position_ += piece.size();
  return piece;
}

void TarReader::SkipPayload() {
  while (payload_left_ > 0) {
    if (chunk_.empty()) {
      uint64_t skipped = source_.Skip(payload_left_);
      payload_left_ -= skipped;
      position_ += skipped;
      if (payload_left_ == 0) return;
    }
    Payload();
  }
}

void TarReader::Trailing() {
  while (Fill()) {
    position_ += chunk_.size();
    raw_.Raw(std::exchange(chunk_, {}));
  }
}

// False at the end of the archive: two zero blocks, one zero block and nothing after it, or the end of the
// bytes.
bool TarReader::ReadHeader(TarHeader& header) {
  subject_.clear();
  for (int zero_blocks = 0;;) {
    size_t length = ReadUpTo(block_, kTarBlock);
    if (length == 0) return false;
    if (length < kTarBlock) Truncated("in a header");
    raw_.Raw({block_, kTarBlock});
    if (IsZeroBlock(block_)) {
      if (++zero_blocks == 2) return false;
      continue;
    }
    if (zero_blocks > 0) Invalid("the tar continues after a zero block");
    std::optional<TarHeader> parsed = ParseTarHeader(block_);
    if (!parsed) Invalid("malformed tar header");
    header = std::move(*parsed);
    subject_ = header.name;
    return true;
  }
}

void TarReader::SetPayload(const TarHeader& header) {
  int64_t size = IsHeaderOnly(header.type) ? 0 : header.size;
  if (size < 0) Invalid("a member has a negative size");
  payload_left_ = static_cast<uint64_t>(size);
  padding_ = PaddingOf(payload_left_);
}

// The content of an x, g, L or K header. It goes to the sink, like the header.
std::string TarReader::ReadSpecial(const TarHeader& header) {
  uint64_t limit = std::max<uint64_t>(limits_.max_pax_bytes, kTarBlock);
  if (payload_left_ > limit) {
    ThrowInput("ERR_LIMIT_EXCEEDED",
               "an extended header has " + std::to_string(payload_left_) + " bytes, more than " +
                   std::to_string(limit),
               {{"member", header.name}, {"limit", std::to_string(limit)}});
  }
  std::string content;
  while (payload_left_ > 0) {
    if (!Fill()) Truncated("in an extended header");
    content += Payload();
  }
  raw_.Raw(content);
  return content;
}

void TarReader::CheckName(const std::string& name, const std::string& member) const {
  if (name.size() <= limits_.max_path_bytes) return;
  ThrowInput("ERR_LIMIT_EXCEEDED",
             "a path has " + std::to_string(name.size()) + " bytes, more than " +
                 std::to_string(limits_.max_path_bytes),
             {{"member", member.substr(0, 256)}, {"limit", std::to_string(limits_.max_path_bytes)}});
}

void TarReader::Merge(const PaxRecords& pax, TarHeader& header, TarMember& member) {
  auto integer = [&](const char* key, int64_t& field) {
    const std::string& text = pax.Get(key);
    if (text.empty()) return;
    std::optional<int64_t> value = ParseDecimal(text);
    if (!value) Invalid(std::string("malformed PAX record '") + key + "'");
    field = *value;
  };
  auto time = [&](const char* key, auto& field) {
    const std::string& text = pax.Get(key);
    if (text.empty()) return;
    std::optional<TarTime> value = ParsePaxTime(text);
    if (!value) Invalid(std::string("malformed PAX record '") + key + "'");
    field = *value;
  };
  if (const std::string& path = pax.Get("path"); !path.empty()) header.name = path;
  if (const std::string& path = pax.Get("linkpath"); !path.empty()) header.linkname = path;
  integer("uid", header.uid);
  integer("gid", header.gid);
  integer("size", header.size);
  time("mtime", header.mtime);
  time("atime", header.atime);
  TarTime unused;
  time("ctime", unused);
  for (const auto& [key, value] : pax.All()) {
    if (value.empty() || key.compare(0, kXattr.size(), kXattr) != 0) continue;
    member.xattrs.emplace_back(key.substr(kXattr.size()), value);
  }
}

SparseMap TarReader::ReadOldGnuMap(TarHeader& header) {
  if (header.format != TarFormat::kGnu)
    Invalid("sparse member '" + header.name + "' in a header that is not GNU's");
  std::optional<int64_t> size = ParseTarNumber({block_ + 483, 12});
  if (!size) Invalid("malformed sparse size of '" + header.name + "'");
  header.size = *size;
  SparseMap map;
  bool valid = ParseOldGnuSparse(block_ + 386, 4, map);
  bool extended = block_[482] != 0;
  for (uint64_t bytes = kTarBlock; valid && extended; bytes += kTarBlock) {
    if (bytes > limits_.max_pax_bytes)
      ThrowInput("ERR_LIMIT_EXCEEDED", "sparse map too long", {{"member", header.name}});
    if (ReadUpTo(block_, kTarBlock) < kTarBlock) Truncated("in a sparse map");
    raw_.Raw({block_, kTarBlock});
    valid = ParseOldGnuSparse(block_, 21, map);
    extended = block_[504] != 0;
  }
  if (!valid) Invalid("malformed sparse map of '" + header.name + "'");
  return map;
}

SparseMap TarReader::ReadPaxMap() {
  SparseMapReader reader;
  for (uint64_t bytes = kTarBlock;; bytes += kTarBlock) {
    if (bytes > limits_.max_pax_bytes)
      ThrowInput("ERR_LIMIT_EXCEEDED", "sparse map too long", {{"member", current_}});
    if (payload_left_ < kTarBlock) Invalid("malformed sparse map");
    if (ReadUpTo(block_, kTarBlock) < kTarBlock) Truncated("in a sparse map");
    payload_left_ -= kTarBlock;
    raw_.Raw({block_, kTarBlock});
    SparseMapReader::State state = reader.Feed({block_, kTarBlock});
    if (state == SparseMapReader::State::kInvalid) Invalid("malformed sparse map");
    if (state == SparseMapReader::State::kDone) return std::move(reader.Map());
  }
}

void TarReader::ReadSparse(const PaxRecords& pax, TarHeader& header, TarMember& member) {
  if (header.type == 'S') {
    member.sparse = ReadOldGnuMap(header);
  } else {
    const std::string& major = pax.Get("GNU.sparse.major");
    const std::string& minor = pax.Get("GNU.sparse.minor");
    bool is_1_0 = major == "1" && minor == "0";
    bool is_0_x = (major == "0" && (minor == "0" || minor == "1")) ||
                  (major.empty() && minor.empty() && !pax.Get("GNU.sparse.map").empty());
    if (!is_1_0 && !is_0_x) return;
    if (const std::string& name = pax.Get("GNU.sparse.name"); !name.empty()) header.name = name;
    const std::string& size = pax.Get("GNU.sparse.size");
    const std::string& real = size.empty() ? pax.Get("GNU.sparse.realsize") : size;
    if (!real.empty()) {
      std::optional<int64_t> value = ParseDecimal(real);
      if (!value) Invalid("malformed sparse size of '" + header.name + "'");
      header.size = *value;
    }
    if (IsHeaderOnly(header.type))
      Invalid("'" + header.name + "' is sparse, but its type cannot have content");
    if (is_1_0) {
      member.sparse = ReadPaxMap();
    } else {
      member.sparse = ParseSparseRecord(pax.Get("GNU.sparse.numblocks"), pax.Get("GNU.sparse.map"));
      if (!member.sparse) Invalid("malformed sparse map of '" + header.name + "'");
    }
  }
  if (!ValidSparseMap(*member.sparse, header.size, payload_left_))
    Invalid("the sparse map of '" + header.name + "' does not fit its content");
}

bool TarReader::Next(TarMember& member) {
  SkipPayload();
  member = TarMember{};
  PaxRecords pax;
  std::string long_name;
  std::string long_link;
  TarHeader header;
  for (;;) {
    size_t padded = ReadUpTo(block_, padding_);
    raw_.Raw({block_, padded});
    bool cut = padded < padding_;
    padding_ = 0;
    if (cut || !ReadHeader(header)) return false;
    SetPayload(header);
    if (header.type == 'x' || header.type == 'g') {
      std::optional<PaxRecords> records = PaxRecords::Parse(ReadSpecial(header));
      if (!records) Invalid("malformed PAX header");
      if (header.type == 'g') {
        Merge(*records, header, member);  // they apply to no member, but `path` names the header itself
        break;
      }
      pax = std::move(*records);
    } else if (header.type == 'L' || header.type == 'K') {
      std::string text = ReadSpecial(header);
      text.resize(std::min(text.find('\0'), text.size()));
      (header.type == 'L' ? long_name : long_link) = std::move(text);
    } else {
      break;
    }
  }
  if (++members_ > limits_.max_members) {
    ThrowInput("ERR_LIMIT_EXCEEDED",
               "the tar has more than " + std::to_string(limits_.max_members) + " members",
               {{"limit", std::to_string(limits_.max_members)}});
  }
  if (header.type != 'g') {
    Merge(pax, header, member);
    if (!long_name.empty()) header.name = std::move(long_name);
    if (!long_link.empty()) header.linkname = std::move(long_link);
    if (header.type == '\0') header.type = header.name.ends_with('/') ? '5' : '0';
    SetPayload(header);
    ReadSparse(pax, header, member);
    if (!member.sparse && IsHeaderOnly(header.type)) header.size = 0;
    member.size = static_cast<uint64_t>(header.size);
  }
  CheckName(header.name, header.name);
  CheckName(header.linkname, header.name);
  current_ = header.name;
  member.type = header.type;
  member.name = std::move(header.name);
  member.linkname = std::move(header.linkname);
  member.mode = header.mode;
  member.uid = header.uid;
  member.gid = header.gid;
  member.mtime = header.mtime;
  member.atime = header.atime;
  member.device_major = header.device_major;
  member.device_minor = header.device_minor;
  member.payload = payload_left_;
  return true;
}

}  // namespace layerstack
