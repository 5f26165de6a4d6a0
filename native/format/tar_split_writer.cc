#include "format/tar_split_writer.h"

#include <algorithm>

#include "format/base64.h"
#include "format/go_json.h"

namespace layerstack {

TarSplitWriter::TarSplitWriter(int fd) : gzip_(fd) {}

void TarSplitWriter::Segment(const char* data, size_t length) {
  while (length > 0) {
    size_t take = std::min(length, kMaxSegmentBytes - segment_.size());
    segment_.append(data, take);
    data += take;
    length -= take;
    if (segment_.size() == kMaxSegmentBytes) FlushSegment();
  }
}

void TarSplitWriter::FlushSegment() {
  if (segment_.empty()) return;
  line_ = R"({"type":2,"payload":")";
  AppendBase64(line_, segment_.data(), segment_.size());
  line_ += '"';
  segment_.clear();
  EndLine();
}

void TarSplitWriter::FileEntry(std::string_view name, uint64_t size,
                               std::optional<std::array<uint8_t, 8>> crc) {
  FlushSegment();
  line_ = R"({"type":1)";
  if (!ValidUtf8(name)) {
    line_ += R"(,"name_raw":")";
    AppendBase64(line_, name.data(), name.size());
    line_ += '"';
  } else if (!name.empty()) {
    line_ += R"(,"name":)";
    AppendGoJsonString(line_, name);
  }
  if (size > 0) line_.append(R"(,"size":)").append(std::to_string(size));
  if (crc && size > 0) {
    line_ += R"(,"payload":")";
    AppendBase64(line_, crc->data(), crc->size());
    line_ += '"';
  } else {
    line_ += R"(,"payload":null)";
  }
  EndLine();
  ++file_entries_;
}

void TarSplitWriter::Finish() {
  FlushSegment();
  gzip_.Finish();
}

void TarSplitWriter::EndLine() {
  line_.append(R"(,"position":)").append(std::to_string(position_++)).append("}\n");
  gzip_.Write(line_.data(), line_.size());
}

}  // namespace layerstack
