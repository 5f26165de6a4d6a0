#include "tree/layer_tar.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/resolve.h"
#include "sys/xattrs.h"
#include "tree/holes.h"
#include "tree/merged.h"
#include "tree/upper.h"

namespace layerstack {

namespace {

// The number of bytes of holes that a tar may have as zeros, which every reader understands. Holes of a file
// of which at least a ninth is data do not count: there a sparse member costs a layer more than the zeros,
// since tar-split carries its data.
constexpr uint64_t kMostZeros = 256 << 20;
constexpr uint64_t kMostlyHoles = 8;
constexpr uint64_t kMostFilled = 64;  // zeros for each byte of data, if a file has too many holes for a map
constexpr uint64_t kReadAhead = 1 << 20;  // smaller files are read by one call anyway

// A file capability that an unprivileged container set carries the user namespace's root id (revision 3);
// images hold the plain revision 2, which every extractor may set.
std::string PortableCapability(const std::string& value) {
  if (value.size() != 24 || (static_cast<unsigned char>(value[3]) != 3)) return value;
  std::string plain = value.substr(0, 20);
  plain[3] = 2;
  return plain;
}

}  // namespace

LayerTar::LayerTar(const std::string& directory, LayerTarOptions options)
    : options_(options), zeros_left_(kMostZeros) {
  UniqueFd fd(Again<::open>(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat info;
  if (!fd || Again<::fstat>(fd.get(), &info) != 0) ThrowErrno(errno, "open", directory);
  device_ = info.st_dev;
  Enter(std::move(fd), "");
}

LayerTar::LayerTar(const std::string& root, const std::string& path, const std::string& name,
                   LayerTarOptions options)
    : options_(options), zeros_left_(kMostZeros) {
  UniqueFd root_fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) ThrowErrno(errno, "open", root);
  UniqueFd fd = OpenInRoot(root_fd.get(), path, O_PATH | O_NOFOLLOW);
  struct stat info;
  if (!fd || Again<::fstat>(fd.get(), &info) != 0) ThrowErrno(errno, "open", path);
  device_ = info.st_dev;
  top_length_ = name.size();
  Encode(fd.get(), nullptr, name);
}

void LayerTar::Enter(UniqueFd fd, std::string path) {
  Level level;
  level.path = std::move(path);
  level.entries = SortedEntries(fd.get(), level.path);
  level.fd = std::move(fd);
  stack_.push_back(std::move(level));
}

template <typename Get>
void LayerTar::TakeXattrs(const std::vector<std::string>& names, const std::string& path, TarEntry& member,
                          Get get) {
  for (const std::string& name : names) {
    bool indirect = name == "trusted.overlay.redirect" || name == "trusted.overlay.metacopy";
    if (options_.kind != TreeKind::kView && indirect) RefuseIndirect(name, path);
    if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) continue;
    if (name == "security.selinux") continue;  // the host's label, not the image's
    if (name.find('=') != std::string::npos) {
      warnings_.Add("xattr-name", path, "the attribute " + name + " has a name that a tar cannot hold");
      continue;
    }
    if (options_.owner && name == "security.capability") continue;
    std::optional<std::string> value = get(name);
    if (value) member.xattrs[name] = name == "security.capability" ? PortableCapability(*value) : *value;
  }
}

// The attributes of a file that is open for reading.
void LayerTar::ReadXattrs(int fd, const std::string& path, TarEntry& member) {
  TakeXattrs(ListXattrs(fd, path), path, member,
             [&](const std::string& name) { return GetXattr(fd, name, path); });
}

// The attributes of a file that cannot be opened without a side effect. It does not use the name, which may
// be removed or name another file by now.
void LayerTar::ReadInodeXattrs(int path_fd, const std::string& path, TarEntry& member) {
  TakeXattrs(ListInodeXattrs(path_fd, path), path, member,
             [&](const std::string& name) { return GetInodeXattr(path_fd, name, path); });
}

// Whether the entry cannot or must not be part of the tar.
bool LayerTar::LeavesOut(const struct stat& info, const std::string& path, const std::string& name) {
  if (S_ISSOCK(info.st_mode)) {
    warnings_.Add("socket", path, "a socket cannot be part of a tar");
    return true;
  }
  const bool own = options_.kind == TreeKind::kPlain;
  if (own && IsWhiteout(info)) {
    warnings_.Add("whiteout-device", path,
                  "a device 0:0 means the removal of a file in a layer: it is left out");
    return true;
  }
  if (options_.kind == TreeKind::kView || !name.starts_with(".wh.")) return false;
  warnings_.Add("whiteout-name", path,
                std::string("a file of this name means the removal of another in a layer") +
                    (own ? ": it is left out" : ""));
  return own;
}

void LayerTar::EncodeWhiteout(const TarEntry& entry, const std::string& directory, const std::string& name) {
  TarEntry whiteout;
  whiteout.name = directory + ".wh." + name;
  whiteout.mode = 0600;
  whiteout.uid = entry.uid;
  whiteout.gid = entry.gid;
  whiteout.mtime = entry.mtime;
  EncodeHeader(whiteout);
}

void LayerTar::EncodeHeader(const TarEntry& member) {
  pending_ += EncodeTarHeader(member);
  if (!options_.sum) return;
  TarEntry summed = member;
  summed.name.erase(0, top_length_);
  summed.mtime = {0, 0};
  const std::string header = EncodeTarHeader(summed);
  options_.sum->Update(header.data(), header.size());
}

void LayerTar::Encode(int fd, const Level* level, const std::string& name) {
  std::string path = level ? level->path + name : name;
  struct stat info;
  if (Again<::fstat>(fd, &info) != 0) ThrowErrno(errno, "fstat", path);

  const Taken taken = options_.choose ? options_.choose(path, S_ISDIR(info.st_mode)) : Taken::kAll;
  if (taken == Taken::kNothing) return;

  TarEntry member;
  member.name = path;
  member.mode = options_.mode.value_or(info.st_mode & 07777);
  member.uid = options_.owner ? options_.owner->uid : info.st_uid;
  member.gid = options_.owner ? options_.owner->gid : info.st_gid;
  member.mtime = info.st_mtim;
  if (options_.latest_mtime && member.mtime.tv_sec >= *options_.latest_mtime) {
    member.mtime = {static_cast<time_t>(*options_.latest_mtime), 0};
  }

  if (options_.kind == TreeKind::kUpper && IsWhiteout(info)) {
    EncodeWhiteout(member, path.substr(0, path.size() - name.size()), name);
    return;
  }
  if (LeavesOut(info, path, name)) return;
  if (options_.owner && S_ISREG(info.st_mode) && !options_.mode) {
    member.mode &= ~static_cast<mode_t>(info.st_mode & S_IXGRP ? S_ISUID | S_ISGID : S_ISUID);
  }
  if (S_ISDIR(info.st_mode)) {
    member.type = '5';
    member.name += '/';
    EncodeDirectory(member, fd, info.st_dev, taken == Taken::kAll);  // invalidates `level`
    return;
  }
  if (info.st_nlink > 1) {
    auto [first, added] = first_names_.try_emplace({info.st_dev, info.st_ino}, path);
    if (!added) {
      member.type = '1';
      member.linkname = first->second;
      // Applying a link sets the file's owner again, which takes capabilities away. So the link repeats them.
      if (!S_ISLNK(info.st_mode)) ReadInodeXattrs(fd, path, member);
      EncodeHeader(member);
      return;
    }
  }
  if (S_ISLNK(info.st_mode)) {
    member.type = '2';
    std::string target(static_cast<size_t>(std::max<off_t>(info.st_size, 1)) + 1, '\0');
    ssize_t length = Again<::readlinkat>(fd, "", target.data(), target.size());
    if (length < 0) ThrowErrno(errno, "readlinkat", path);
    target.resize(static_cast<size_t>(length));
    member.linkname = target;
  } else if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
    member.type = S_ISCHR(info.st_mode) ? '3' : '4';
    member.device_major = major(info.st_rdev);
    member.device_minor = minor(info.st_rdev);
    ReadInodeXattrs(fd, path, member);
  } else if (S_ISFIFO(info.st_mode)) {
    member.type = '6';
    ReadInodeXattrs(fd, path, member);
  } else {
    // The same inode as before: a container may have put a device at the name meanwhile.
    std::string inode = "/proc/self/fd/" + std::to_string(fd);
    file_.reset(Again<::open>(inode.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file_) ThrowErrno(errno, "open", path);
    ReadXattrs(file_.get(), path, member);
    // A file that looks like a whiteout is not extracted, so its clone would never be taken.
    bool extracted = !name.starts_with(".wh.");
    if (options_.clones && extracted && static_cast<uint64_t>(info.st_size) >= Clones::kMinBytes)
      Clone(member, info);
    EncodeContent(member, info);
  }
  EncodeHeader(member);
}

void LayerTar::EncodeContent(TarEntry& member, const struct stat& info) {
  member.size = static_cast<uint64_t>(info.st_size);
  file_path_ = member.name;
  FileData data = FindData(file_.get(), info);
  file_left_ = std::move(data.parts);
  file_part_ = 0;
  file_bytes_ = DataBytes(file_left_);
  const uint64_t holes = member.size - file_bytes_;
  const bool spared = holes / kMostlyHoles < file_bytes_;
  if (holes > 0 && (options_.sparse || (!spared && holes > zeros_left_))) {
    member.sparse = file_left_;
    if (data.filled / kMostFilled > file_bytes_ - data.filled && data.filled > kMostZeros) {
      ThrowInput("ERR_LIMIT_EXCEEDED",
                 "'" + member.name +
                     "' has more holes than a tar can record: " + std::to_string(data.filled) +
                     " bytes of zeros would be written; leave it out, or copy it to a file with fewer holes",
                 {{"member", member.name}, {"limit", std::to_string(kMostZeros)}});
    }
  } else if (holes > 0) {
    if (!spared) zeros_left_ -= holes;
    file_left_ = {{0, info.st_size}};
    file_bytes_ = member.size;
  }
  if (file_bytes_ == 0) file_.reset();
  if (file_bytes_ >= kReadAhead) ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
}

// Continues with a clone of the file, with the size that it has now.
void LayerTar::Clone(const TarEntry& member, struct stat& info) {
  UniqueFd clone = options_.clones->Make(member.name, file_.get());
  if (!clone) return;
  if (Again<::fstat>(clone.get(), &info) != 0) ThrowErrno(errno, "fstat", member.name);
  file_ = std::move(clone);
}

void LayerTar::EncodeDirectory(TarEntry& member, int path_fd, dev_t device, bool with_header) {
  UniqueFd directory(Again<::openat>(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) ThrowErrno(errno, "openat", member.name);
  if (with_header) {
    ReadXattrs(directory.get(), member.name, member);
    EncodeHeader(member);
  }
  if (device != device_ && !options_.cross_mounts) return;  // mounted here: /proc, /sys, a volume
  if (options_.kind == TreeKind::kUpper && IsOpaque(directory.get())) {
    TarEntry marker = member;
    marker.name += ".wh..wh..opq";
    marker.type = '0';
    marker.mtime = {0, 0};
    marker.xattrs.clear();
    EncodeHeader(marker);
  }
  Enter(std::move(directory), member.name);
}

bool LayerTar::Advance() {
  while (!stack_.empty()) {
    Level& level = stack_.back();
    if (level.next == level.entries.size()) {
      stack_.pop_back();
      continue;
    }
    std::string name = std::move(level.entries[level.next++].name);
    UniqueFd fd(Again<::openat>(level.fd.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && errno == ENOENT) continue;  // deleted since the directory was listed
    if (!fd) ThrowErrno(errno, "openat", level.path + name);
    Encode(fd.get(), &level, name);
    if (!pending_.empty()) return true;
  }
  if (ended_) return false;
  ended_ = true;
  pending_.assign(2 * kTarBlock, '\0');
  return true;
}

size_t LayerTar::Read(char* buffer, size_t room) {
  size_t filled = 0;
  while (filled < room) {
    if (pending_at_ < pending_.size()) {
      size_t take = std::min(room - filled, pending_.size() - pending_at_);
      std::memcpy(buffer + filled, pending_.data() + pending_at_, take);
      pending_at_ += take;
      filled += take;
      continue;
    }
    pending_.clear();
    pending_at_ = 0;
    if (file_) {
      SparseFragment& part = file_left_[file_part_];
      size_t want = std::min(room - filled, static_cast<size_t>(part.length));
      ssize_t got = Again<::pread>(file_.get(), buffer + filled, want, part.offset);
      if (got < 0) ThrowErrno(errno, "read", file_path_);
      if (got == 0) {
        ThrowInput("ERR_UPPER_CHANGED", "a file shrank while it was read; stop the program that writes to it",
                   {{"member", file_path_}});
      }
      if (options_.sum) options_.sum->Update(buffer + filled, static_cast<size_t>(got));
      filled += static_cast<size_t>(got);
      part.offset += got;
      part.length -= got;
      if (part.length == 0 && ++file_part_ == file_left_.size()) {
        file_.reset();
        pending_.assign(TarPadding(file_bytes_), '\0');
      }
      continue;
    }
    if (!Advance()) break;
  }
  return filled;
}

}  // namespace layerstack
