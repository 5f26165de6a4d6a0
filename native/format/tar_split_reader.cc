#include "format/tar_split_reader.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "format/base64.h"
#include "format/json_cursor.h"
#include "sys/failure.h"

namespace layerstack {

namespace {

constexpr size_t kReadBytes = size_t{64} << 10;
constexpr size_t kTarSplitBytes = size_t{256} << 10;

// The fields that a line has.
struct Fields {
  uint64_t type = 0;
  std::string name_raw;
  bool has_payload = false;
};

// Puts the value of `key` into `fields` and `entry`. False if its form is wrong.
bool ReadField(JsonCursor& json, std::string_view key, Fields& fields, TarSplitEntry& entry) {
  std::string scratch;
  std::string_view text;
  if (key == "type") return json.Natural(fields.type);
  if (key == "size") return json.Natural(entry.size);
  if (key == "name") {
    if (!json.String(scratch, text)) return false;
    entry.name = text;
    return true;
  }
  if (key == "name_raw") {
    fields.name_raw.clear();
    return json.Null() || (json.String(scratch, text) && DecodeBase64(text, fields.name_raw));
  }
  if (key == "payload") {
    entry.payload.clear();
    fields.has_payload = !json.Null();
    return !fields.has_payload || (json.String(scratch, text) && DecodeBase64(text, entry.payload));
  }
  return json.Skip();  // `position`, and what later versions may add
}

bool ReadObject(std::string_view line, Fields& fields, TarSplitEntry& entry) {
  JsonCursor json(line);
  if (!json.Consume('{')) return false;
  if (!json.Consume('}')) {
    do {
      std::string scratch;
      std::string_view key;
      if (!json.String(scratch, key) || !json.Consume(':') || !ReadField(json, key, fields, entry))
        return false;
    } while (json.Consume(','));
    if (!json.Consume('}')) return false;
  }
  return json.AtEnd();
}

}  // namespace

TarSplitReader::TarSplitReader(UniqueFd fd, std::string path)
    : fd_(std::move(fd)), path_(std::move(path)), decoder_(StreamDecoder::Create(Compression::kGzip)) {}

bool TarSplitReader::Next(TarSplitEntry& entry) {
  std::string_view line;
  do {
    if (!NextLine(line)) return false;
  } while (line.empty());
  entry.name.clear();
  entry.payload.clear();
  entry.size = 0;
  entry.crc.reset();
  Fields fields;
  if (!ReadObject(line, fields, entry)) Corrupt("malformed");
  switch (fields.type) {
    case 1:
      entry.type = TarSplitEntry::Type::kFile;
      if (!fields.name_raw.empty()) entry.name = std::move(fields.name_raw);
      if (entry.size == 0) return true;
      if (entry.payload.size() != 8) Corrupt("without a CRC-64");
      std::memcpy(entry.crc.emplace().data(), entry.payload.data(), 8);
      return true;
    case 2: entry.type = TarSplitEntry::Type::kSegment; return true;
    default: Corrupt("of an unknown type");
  }
}

// The next line without its line feed, which the last line may lack.
bool TarSplitReader::NextLine(std::string_view& line) {
  size_t searched = start_;
  for (;;) {
    size_t end = text_.find('\n', searched);
    if (end == std::string::npos && text_.size() - start_ <= kMaxTarSplitLine) {
      size_t unfinished = text_.size() - start_;
      if (Fill()) {
        searched = start_ + unfinished;
        continue;
      }
      if (unfinished == 0) return false;
      end = text_.size();
    }
    ++line_number_;
    if (end == std::string::npos || end - start_ > kMaxTarSplitLine) Corrupt("too long");
    line = std::string_view(text_).substr(start_, end - start_);
    start_ = std::min(end + 1, text_.size());
    return true;
  }
}

// Appends more decoded text to the rest. False at the end.
bool TarSplitReader::Fill() {
  text_.erase(0, start_);
  start_ = 0;
  const size_t kept = text_.size();
  try {
    for (;;) {
      text_.resize(kept + kTarSplitBytes);
      size_t produced = decoder_->Output(text_.data() + kept, kTarSplitBytes);
      text_.resize(kept + produced);
      if (produced > 0) return true;
      if (decoder_->Done()) return false;
      std::string chunk(kReadBytes, '\0');
      ssize_t count = Again<::read>(fd_.get(), chunk.data(), chunk.size());
      if (count < 0) ThrowErrno(errno, "read", path_);
      chunk.resize(static_cast<size_t>(count));
      if (count == 0) {
        decoder_->EndInput();
      } else {
        decoder_->Input(std::move(chunk));
      }
    }
  } catch (const Failure& failure) {
    if (failure.errnum != 0) throw;
    ThrowInput("ERR_STORE_CORRUPT", "tar-split: " + failure.message, {{"path", path_}});
  }
}

void TarSplitReader::Corrupt(const std::string& what) const {
  ThrowInput("ERR_STORE_CORRUPT", "tar-split: line " + std::to_string(line_number_) + " is " + what,
             {{"path", path_}});
}

}  // namespace layerstack
