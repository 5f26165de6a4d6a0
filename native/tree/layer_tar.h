// The layer tar of an upper directory: the inverse of tree/apply. Depth first, names sorted bytewise, a directory
// before its content, the root left out. Overlay whiteouts become `.wh.NAME`, opaque directories are followed
// by `.wh..wh..opq`; later names of an inode become hard links to the first. What is mounted inside is left out.
// A merged view has none of overlayfs's marks, so the same gives the tar of a whole root file system, of any directory
// (`import`), or of a subtree of one (`cp`). Everything is read relative to directory fds and never through a link, so a container that
// swaps names meanwhile cannot make it leave its tree.
// Memory: the names of the directories on the way down, and one name per multiply linked inode.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "format/tar_sparse.h"
#include "format/tar_writer.h"
#include "sys/dirents.h"
#include "sys/fd.h"
#include "tree/clones.h"
#include "tree/warnings.h"

namespace layerstack {

// What a tree is, and so what the marks of layers in it mean.
enum class TreeKind {
  kUpper,      // overlayfs's: its marks are translated, or refused
  kPlain,  // any directory that becomes a layer: what a layer would take for a mark is left out
  kView,       // it becomes no layer: taken as it looks
};

struct LayerTarOptions {
  // Times later than this many seconds since 1970 are set to it (SOURCE_DATE_EPOCH).
  std::optional<int64_t> latest_mtime;
  TreeKind kind = TreeKind::kUpper;
  bool cross_mounts = false;  // what is mounted inside goes into the tar too
  // Every hole makes its file a sparse member: who reads the tar is known to understand it. Else files become sparse
  // members only where their zeros would be too many: each reader gets their content right, but not every one keeps the
  // holes, and dockerd and podman cannot put a layer with such a member together again.
  bool sparse = false;
  std::shared_ptr<Clones> clones;  // where whoever extracts the tar can do with clones of its larger files
};

class LayerTar {
 public:
  // `directory`: the upper. Throws the errno of open(2).
  LayerTar(const std::string& directory, LayerTarOptions options);
  // The tar of what is at `path` below `root`, as `cp` needs it: links on the way are resolved inside the root, the
  // last one only where the path ends in "/" or "/.". It becomes the top member `name`, everything below it
  // `name`/...; throws the errno of open(2).
  LayerTar(const std::string& root, const std::string& path, const std::string& name, LayerTarOptions options);

  // Fills `buffer` with the next bytes of the tar; 0 is the end. Throws a system failure with the path in the layer,
  // ERR_UPPER_CHANGED where a file shrank while it was read, ERR_UPPER_UNSUPPORTED where an entry holds a redirect or
  // metacopy attribute, whose content is elsewhere, and ERR_LIMIT_EXCEEDED for a file of so many holes that most of it
  // would be written as zeros. Thread: any, one at a time.
  size_t Read(char* buffer, size_t room);

  // What could not be put into a tar (sockets, attributes with names that PAX cannot hold), or means something else
  // in a layer (whiteouts, by their names or numbers).
  Warnings& warnings() { return warnings_; }

 private:
  struct Level {
    UniqueFd fd;
    std::string path;  // "" or "a/b/"
    std::vector<DirectoryEntry> entries;
    size_t next = 0;
  };

  bool Advance();  // encodes the next member into pending_; false at the end
  void Enter(UniqueFd fd, std::string path);
  // `fd`: O_PATH, maybe of a link. `level` is null for the top member of a subtree.
  void Encode(int fd, const Level* level, const std::string& name);
  bool LeavesOut(const struct stat& info, const std::string& path, const std::string& name);
  void EncodeWhiteout(const TarEntry& entry, const std::string& directory, const std::string& name);
  void Clone(const TarEntry& member, struct stat& info);
  void EncodeContent(TarEntry& member, const struct stat& info);
  void EncodeDirectory(TarEntry& member, int path_fd, dev_t device);
  void ReadXattrs(int fd, const std::string& path, TarEntry& member);
  void ReadInodeXattrs(int path_fd, const std::string& path, TarEntry& member);
  template <typename Get>
  void TakeXattrs(const std::vector<std::string>& names, const std::string& path, TarEntry& member, Get get);

  LayerTarOptions options_;
  dev_t device_ = 0;  // of the tree; what is mounted in it is left out
  std::vector<Level> stack_;
  std::map<std::pair<dev_t, ino_t>, std::string> first_names_;
  Warnings warnings_;

  std::string pending_;  // header bytes and padding not yet handed out
  size_t pending_at_ = 0;
  UniqueFd file_;  // the content that follows pending_
  std::string file_path_;
  SparseMap file_left_;        // the parts of it that are still to come
  size_t file_part_ = 0;       // the one under way
  uint64_t file_bytes_ = 0;    // all parts together
  uint64_t zeros_left_;        // of holes, that may still be written as zeros
  bool ended_ = false;
};

}  // namespace layerstack
