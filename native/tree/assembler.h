// Rebuilds a layer's tar, bit for bit, from its directory and its tar-split. Links are resolved inside the
// directory and never lead out of it. Each file must have the recorded size and CRC-64. The caller checks the
// DiffID. Memory: one tar-split line. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "codec/crc64.h"
#include "format/tar_split_reader.h"
#include "sys/fd.h"
#include "tree/tar_bytes.h"

namespace layerstack {

// The length of a layer's tar, by its tar-split alone. Throws as LayerAssembler does.
uint64_t LayerTarSize(const std::string& tar_split);

class LayerAssembler : public TarBytes {
 public:
  // `diff` is the layer's own directory. Throws the errno if either cannot be opened.
  LayerAssembler(const std::string& diff, const std::string& tar_split);

  // Fills `buffer` with the next bytes of the tar. 0 is its end. Throws ERR_STORE_CORRUPT with the fact
  // `member` if a file is missing, is not a regular file or has other content than recorded.
  size_t Read(char* buffer, size_t room) override;

 private:
  bool NextEntry();
  void OpenMember();
  size_t ReadMember(char* buffer, size_t room);
  [[noreturn]] void Corrupt(const std::string& what) const;

  UniqueFd diff_;
  TarSplitReader reader_;
  TarSplitEntry entry_;
  size_t segment_position_ = 0;
  UniqueFd parent_;  // the directory of the last member, and mostly of the next one
  std::string parent_path_;
  UniqueFd member_;
  uint64_t member_left_ = 0;
  Crc64 crc_;
};

}  // namespace layerstack
