// Writes the members of a layer into the layer's directory, as dockerd does. It makes missing parents,
// replaces what is in the way, writes whiteouts in overlayfs's form, then sets owner, attributes, mode and
// times. Input that cannot be stored is ERR_LAYER_INVALID or ERR_LAYER_ESCAPE. System errors carry the path.
#pragma once

#include <string>

#include "format/tar_reader.h"
#include "format/tar_split_writer.h"
#include "sys/fd.h"
#include "tree/content_writer.h"
#include "tree/dir_cache.h"
#include "tree/metadata.h"
#include "tree/replaced_files.h"
#include "tree/warnings.h"

namespace layerstack {

class TreeWriter {
 public:
  // `tar_split` counts the file entries recorded so far. It and `warnings` must outlive this object.
  TreeWriter(const std::string& diff, const TarSplitWriter& tar_split, Warnings& warnings);

  // `path` is the member's cleaned path and not the root.
  void Directory(const TarMember& member, const std::string& path);
  // The layer's own directory: owner, mode, attributes and times of the member.
  void RootDirectory(const TarMember& member);
  void Symlink(const TarMember& member, const std::string& path);
  void HardLink(const TarMember& member, const std::string& path);
  void Device(const TarMember& member, const std::string& path);  // or fifo
  // `.wh.NAME`: NAME as a 0:0 character device; `.wh..wh..opq`: the mark on the directory.
  void Whiteout(const TarMember& member, const std::string& path);

  // A regular file. The caller then calls FinishFile or gives it to Contents().
  struct File : NewFile {
    bool through_link;  // the member's name leads to its directory through a link
  };
  // `clone`: a file without a name that has the content already.
  File CreateFile(const TarMember& member, const std::string& path, UniqueFd clone = {});
  // Writes the contents of files on a thread of its own. Work that depends on the state of earlier files
  // drains it first.
  ContentWriter& Contents() { return contents_; }

  // Restores the times of directories. Then everything is in its final state.
  void Finish();
  uint64_t ContentSize();
  ReplacedFiles& Replaced() { return replaced_; }
  int Root() const { return root_.get(); }

 private:
  // The directory that a path's entry goes to, made if missing.
  CachedDir& Parent(const std::string& parent, bool* through_link = nullptr);
  // Calls `make`, a system call. If it fails with EEXIST, makes room and calls it again.
  template <typename Make>
  void Place(CachedDir& dir, const std::string& base, const char* syscall, Make make);
  // Removes what has the name `base`, or moves it to the replaced files if the tar-split may need its bytes.
  void MakeRoom(CachedDir& dir, const std::string& base);
  bool NeedsOwner(const TarMember& member, const CachedDir& dir) const;
  bool NeedsMode(const TarMember& member, mode_t special) const;
  // For links, devices and fifos.
  void FinishNamed(const TarMember& member, const CachedDir& dir, const std::string& base, bool has_mode);

  const TarSplitWriter& tar_split_;
  UniqueFd root_;
  DirCache dirs_;
  ReplacedFiles replaced_;
  ContentWriter contents_;
  Warnings& warnings_;
  bool creates_as_root_;
  bool exact_modes_;
  bool replaced_any_ = false;
  uint64_t content_size_ = 0;
  bool root_dated_ = false;
  timespec root_times_[2];
};

}  // namespace layerstack
