#include "tree/assembler.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "sys/failure.h"
#include "sys/resolve.h"
#include "sys/store_entry.h"

namespace layerstack {

namespace {

// Splits a member's name, cleaned as Go's path.Join(root, name) does, into its directory ("" is the root) and
// last component. False if it is the root, is above it or cannot be a path.
bool SplitClean(std::string_view name, std::string& parent, std::string& base) {
  if (name.find('\0') != std::string_view::npos) return false;
  std::vector<std::string_view> parts;
  while (!name.empty()) {
    size_t length = std::min(name.find('/'), name.size());
    std::string_view part = name.substr(0, length);
    name.remove_prefix(std::min(length + 1, name.size()));
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (parts.empty()) {
      return false;
    } else {
      parts.pop_back();
    }
  }
  if (parts.empty()) return false;
  base = parts.back();
  parts.pop_back();
  parent.clear();
  for (std::string_view part : parts) {
    if (!parent.empty()) parent += '/';
    parent += part;
  }
  return true;
}

// These errors mean that the tree is not as recorded. Others (EIO, EMFILE, ...) mean that it could not be
// read.
bool SaysChanged(int errnum) {
  return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP || errnum == EXDEV ||
         errnum == ENAMETOOLONG || errnum == ENXIO;
}

bool IsDiskFault(int errnum) { return errnum == EIO || errnum == EUCLEAN || errnum == EBADMSG; }

}  // namespace

uint64_t LayerTarSize(const std::string& tar_split) {
  TarSplitReader reader(OpenEntryFile(tar_split, O_RDONLY, 0), tar_split);
  TarSplitEntry entry;
  uint64_t size = 0;
  while (reader.Next(entry)) {
    size += entry.type == TarSplitEntry::Type::kFile ? entry.size : entry.payload.size();
  }
  return size;
}

LayerAssembler::LayerAssembler(const std::string& diff, const std::string& tar_split)
    : diff_(OpenEntry(diff, O_PATH | O_DIRECTORY)),
      reader_(OpenEntryFile(tar_split, O_RDONLY, 0), tar_split) {}

void LayerAssembler::Tolerate(std::function<void(const std::string&, const std::string&)> damaged) {
  damaged_ = std::move(damaged);
}

size_t LayerAssembler::ReadOn(char* buffer, size_t room) {
  if (member_) return ReadMember(buffer, room);
  if (zeros_left_ > 0) return ReadZeros(buffer, room);
  size_t count = entry_.payload.copy(buffer, room, segment_position_);
  segment_position_ += count;
  return count;
}

size_t LayerAssembler::Read(char* buffer, size_t room) {
  size_t filled = 0;
  while (filled < room) {
    if (HasFileBytes() || segment_position_ < entry_.payload.size()) {
      filled += ReadOn(buffer + filled, room - filled);
    } else if (!NextEntry()) {
      break;
    }
  }
  return filled;
}

size_t LayerAssembler::ReadPiece(char* buffer, size_t room, bool* of_file) {
  for (;;) {
    *of_file = HasFileBytes();
    if (*of_file || segment_position_ < entry_.payload.size()) {
      if (size_t count = ReadOn(buffer, room)) return count;
    } else if (!NextEntry()) {
      return 0;
    }
  }
}

bool LayerAssembler::NextEntry() {
  if (!reader_.Next(entry_)) return false;
  segment_position_ = 0;
  if (entry_.type == TarSplitEntry::Type::kFile) {
    entry_.payload.clear();  // the CRC, which is not content
    if (leaves_out_files_) {
      zeros_left_ = entry_.size;
    } else if (entry_.size > 0) {
      OpenMember();
    }
  }
  return true;
}

void LayerAssembler::OpenMember() {
  member_left_ = entry_.size;
  std::string parent, base;
  if (!SplitClean(entry_.name, parent, base)) return Damaged("has a name outside the layer");
  if (!parent_ || parent != parent_path_) {
    // A member may have been written through a link of its own layer. Its bytes are checked wherever they
    // are.
    parent_ = OpenInRoot(diff_.get(), parent, O_PATH | O_DIRECTORY);
    parent_path_ = std::move(parent);
    if (!parent_) return Unreadable(errno, "open");
  }
  // Checked before it is opened, since opening a device may have side effects.
  struct stat info;
  if (Again<::fstatat>(parent_.get(), base.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
    return Unreadable(errno, "stat");
  if (!S_ISREG(info.st_mode)) return Damaged("is not a regular file");
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  member_.reset(Again<::openat>(parent_.get(), base.c_str(), kFlags));
  if (!member_ || Again<::fstat>(member_.get(), &info) != 0) return Unreadable(errno, "open");
  if (!S_ISREG(info.st_mode)) return Damaged("is not a regular file");
  if (static_cast<uint64_t>(info.st_size) != entry_.size) {
    return Damaged("has " + std::to_string(info.st_size) + " bytes instead of " +
                   std::to_string(entry_.size));
  }
  file_inode_ = info.st_ino;
  crc_.Reset();
}

size_t LayerAssembler::ReadMember(char* buffer, size_t room) {
  const size_t wanted = static_cast<size_t>(std::min<uint64_t>(room, member_left_));
  ssize_t count = Again<::read>(member_.get(), buffer, wanted);
  if (count <= 0) {
    count < 0 ? Unreadable(errno, "read") : Damaged("has become shorter");
    return 0;
  }
  crc_.Update(buffer, static_cast<size_t>(count));
  member_left_ -= static_cast<uint64_t>(count);
  if (member_left_ == 0) {
    member_.reset();
    if (crc_.Bytes() != entry_.crc) Damaged("has other content than recorded");
  }
  return static_cast<size_t>(count);
}

size_t LayerAssembler::ReadZeros(char* buffer, size_t room) {
  const size_t count = static_cast<size_t>(std::min<uint64_t>(room, zeros_left_));
  std::fill_n(buffer, count, '\0');
  zeros_left_ -= count;
  return count;
}

uint64_t LayerAssembler::SkipZeros(uint64_t length) {
  const uint64_t skipped = std::min(length, zeros_left_);
  zeros_left_ -= skipped;
  return skipped;
}

void LayerAssembler::Unreadable(int errnum, const char* call) {
  if (SaysChanged(errnum)) return Damaged("is missing");
  if (!damaged_ || !IsDiskFault(errnum)) ThrowErrno(errnum, call, entry_.name);
  Damaged(std::string("cannot be read (") + ErrnoName(errnum) + ")");
}

void LayerAssembler::Damaged(const std::string& what) {
  if (!damaged_) {
    ThrowInput("ERR_STORE_CORRUPT", "'" + entry_.name + "' of the layer " + what, {{"member", entry_.name}});
  }
  member_.reset();
  zeros_left_ = member_left_;
  damaged_(entry_.name, what);
}

}  // namespace layerstack
