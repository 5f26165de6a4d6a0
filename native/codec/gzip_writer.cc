#include "codec/gzip_writer.h"

#include <unistd.h>

#include <algorithm>
#include <new>

#include "codec/library.h"
#include "sys/failure.h"

namespace layerstack {

namespace {
constexpr size_t kBufferBytes = size_t{64} << 10;
// The text is mostly base64 of zeros: the fastest level shrinks it twentyfold at several times the speed of
// the default one.
constexpr int kLevel = 1;
constexpr int kRawDeflate = -15;  // the header is ours, since zlib writes another OS byte than Go
constexpr int kMemLevel = 8;

void AppendLittle32(std::string& out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out += static_cast<char>(value >> (8 * i));
}
}  // namespace

GzipWriter::GzipWriter(int fd) : fd_(fd), buffer_(kBufferBytes, '\0') {
  int code = Zlib().deflate_init2(&stream_, kLevel, Z_DEFLATED, kRawDeflate, kMemLevel, Z_DEFAULT_STRATEGY,
                                  ZLIB_VERSION, sizeof stream_);
  if (code != Z_OK) throw std::bad_alloc();
  constexpr char kHeader[] = {'\x1f', '\x8b', 8, 0, 0, 0, 0, 0, 0, '\xff'};
  std::copy(std::begin(kHeader), std::end(kHeader), buffer_.begin());
  stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data() + sizeof kHeader);
  stream_.avail_out = static_cast<uInt>(kBufferBytes - sizeof kHeader);
}

GzipWriter::~GzipWriter() { Zlib().deflate_end(&stream_); }

void GzipWriter::Write(const void* data, size_t length) {
  const auto* bytes = static_cast<const Bytef*>(data);
  while (length > 0) {
    uInt piece = static_cast<uInt>(std::min(length, size_t{1} << 30));
    crc_ = static_cast<uint32_t>(Zlib().crc32(crc_, bytes, piece));
    length_ += piece;
    stream_.next_in = const_cast<Bytef*>(bytes);
    stream_.avail_in = piece;
    Deflate(Z_NO_FLUSH);
    bytes += piece;
    length -= piece;
  }
}

void GzipWriter::Finish() {
  Deflate(Z_FINISH);
  std::string trailer;
  AppendLittle32(trailer, crc_);
  AppendLittle32(trailer, length_);
  WriteAll(trailer.data(), trailer.size());
}

// Writes the buffer out whenever it is full and, with Z_FINISH, at the end.
void GzipWriter::Deflate(int flush) {
  for (;;) {
    int code = Zlib().deflate(&stream_, flush);
    bool ended = code == Z_STREAM_END;
    if (stream_.avail_out > 0 && !ended) return;
    WriteAll(buffer_.data(), kBufferBytes - stream_.avail_out);
    stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data());
    stream_.avail_out = static_cast<uInt>(kBufferBytes);
    if (ended) return;
  }
}

void GzipWriter::WriteAll(const char* data, size_t length) {
  while (length > 0) {
    ssize_t written = Again<::write>(fd_, data, length);
    if (written < 0) ThrowErrno(errno, "write");
    data += written;
    length -= static_cast<size_t>(written);
  }
}

}  // namespace layerstack
