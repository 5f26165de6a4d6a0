// Streaming gzip into an fd, with the header that Go's compress/gzip writes (no name, mtime 0, XFL 0, OS
// 255).
#pragma once

#include <zlib.h>

#include <cstddef>
#include <string>

namespace layerstack {

class GzipWriter {
 public:
  explicit GzipWriter(int fd);  // the fd stays the caller's, and open until Finish
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;
  ~GzipWriter();

  // Both throw the errno of write(2). Finish writes the rest and the trailer. It does not sync.
  void Write(const void* data, size_t length);
  void Finish();

 private:
  void Deflate(int flush);
  void WriteAll(const char* data, size_t length);

  int fd_;
  z_stream stream_{};
  uint32_t crc_ = 0;
  uint32_t length_ = 0;  // modulo 2^32, as the trailer has it
  std::string buffer_;
};

}  // namespace layerstack
