// Makes what the members of a layer name, in the layer's directory, as dockerd does: parents that are missing,
// what stands in the way, whiteouts in overlayfs's form, then owner, attributes, mode and times. Input that
// cannot be stored is ERR_LAYER_INVALID or ERR_LAYER_ESCAPE; system errors carry the path.
#pragma once

#include <string>

#include "format/tar_reader.h"
#include "sys/fd.h"
#include "tree/aside.h"
#include "tree/content_writer.h"
#include "tree/dir_cache.h"
#include "tree/metadata.h"
#include "tree/warnings.h"

namespace layerstack {

class TreeWriter {
 public:
  TreeWriter(const std::string& diff, Warnings& warnings);

  // `path` is the member's cleaned path and not the root.
  void Directory(const TarMember& member, const std::string& path);
  // The layer's own directory: owner, mode, attributes and times of the member.
  void RootDirectory(const TarMember& member);
  void Symlink(const TarMember& member, const std::string& path);
  void HardLink(const TarMember& member, const std::string& path);
  void Device(const TarMember& member, const std::string& path);  // or fifo
  // `.wh.NAME`: NAME as a 0:0 character device; `.wh..wh..opq`: the mark on the directory.
  void Whiteout(const TarMember& member, const std::string& path);

  // A regular file, for which the caller then calls FinishFile or gives it to Contents().
  struct File : NewFile {
    bool through_link;  // its directory is not where the member's name says
  };
  // `clone`: a file without a name that has the content already; the member's directory is no link then.
  File CreateFile(const TarMember& member, const std::string& path, UniqueFd clone = {});
  // Whatever depends on the state of earlier files waits for it.
  ContentWriter& Contents() { return contents_; }

  // How many file entries the tar-split has: told to what is set aside.
  uint64_t recorded = 0;
  // Restores the times of directories; then all is in its final state.
  void Finish();
  uint64_t ContentSize();
  Aside& Replaced() { return aside_; }
  int Root() const { return root_.get(); }

 private:
  // The directory that a path's entry goes to, made if missing.
  CachedDir& Parent(const std::string& parent, bool* through_link = nullptr);
  // Repeats `make` (a system call that fails with EEXIST) once what stands in the way is set aside.
  template <typename Make>
  void Place(CachedDir& dir, const std::string& base, const char* syscall, Make make);
  void Displace(CachedDir& dir, const std::string& base);
  bool NeedsOwner(const TarMember& member, const CachedDir& dir) const;
  bool NeedsMode(const TarMember& member, mode_t special) const;
  // For links, devices and fifos.
  void FinishNamed(const TarMember& member, const CachedDir& dir, const std::string& base, bool has_mode);

  UniqueFd root_;
  DirCache dirs_;
  Aside aside_;
  ContentWriter contents_;
  Warnings& warnings_;
  bool creates_as_root_;
  bool exact_modes_;
  bool displaced_ = false;
  uint64_t content_size_ = 0;
  bool root_dated_ = false;
  timespec root_times_[2];
};

}  // namespace layerstack
