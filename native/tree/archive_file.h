// A tar in a file, plain or compressed, as a source of bytes.
#pragma once

#include <atomic>
#include <memory>
#include <string_view>

#include "codec/decoder.h"
#include "format/tar_reader.h"

namespace layerstack {

class ArchiveFile : public ByteSource {
 public:
  // The fd is open for reading and stays the caller's. Throws ERR_COMPRESSION_UNSUPPORTED.
  ArchiveFile(int fd, std::shared_ptr<std::atomic<bool>> aborted);
  std::string_view Next() override;
  void Check() override;

 private:
  size_t Read();  // the file's next bytes into input_

  int fd_;
  int64_t position_ = 0;
  std::shared_ptr<std::atomic<bool>> aborted_;
  std::unique_ptr<StreamDecoder> decoder_;
  std::unique_ptr<char[]> input_;
  std::unique_ptr<char[]> output_;
};

// Whether the file begins with a member of a tar, perhaps compressed.
bool IsArchive(int fd);

}  // namespace layerstack
