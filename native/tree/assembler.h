// Rebuilds a layer's tar, bit for bit, from its directory and its tar-split. Links are resolved inside the
// directory and never lead out of it. Each file must have the recorded size and CRC-64. The caller checks the
// DiffID. Memory: one tar-split line. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
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

  // Goes on past damaged files: `damaged` gets the name and the fault of each, and zeros stand for the bytes
  // that cannot be read. The tar then has another digest.
  void Tolerate(std::function<void(const std::string& member, const std::string& what)> damaged);

  // Opens no file: zeros stand for their bytes.
  void LeaveOutFiles() { leaves_out_files_ = true; }
  // Skips up to `length` of the zeros that come next. Returns how many.
  uint64_t SkipZeros(uint64_t length);

  // The inode of the last file that was opened.
  ino_t FileInode() const { return file_inode_; }

  // Fills `buffer` with the next bytes of the tar. 0 is its end. Throws ERR_STORE_CORRUPT with the fact
  // `member` if a file is missing, is not a regular file or has other content than recorded.
  size_t Read(char* buffer, size_t room) override;
  // Does Read, but never mixes bytes of a file with bytes of the tar-split. `*of_file`: which they are.
  size_t ReadPiece(char* buffer, size_t room, bool* of_file);

 private:
  bool NextEntry();
  // The next bytes from where they come; 0 if more may follow from elsewhere.
  size_t ReadOn(char* buffer, size_t room);
  bool HasFileBytes() const { return member_ || zeros_left_ > 0; }
  void OpenMember();
  size_t ReadMember(char* buffer, size_t room);
  size_t ReadZeros(char* buffer, size_t room);
  void Damaged(const std::string& what);
  // For a call on the member that has failed.
  void Unreadable(int errnum, const char* call);

  UniqueFd diff_;
  TarSplitReader reader_;
  TarSplitEntry entry_;
  size_t segment_position_ = 0;
  UniqueFd parent_;  // the directory of the last member, and usually of the next one
  std::string parent_path_;
  UniqueFd member_;
  ino_t file_inode_ = 0;
  uint64_t member_left_ = 0;
  uint64_t zeros_left_ = 0;
  bool leaves_out_files_ = false;
  Crc64 crc_;
  std::function<void(const std::string&, const std::string&)> damaged_;
};

}  // namespace layerstack
