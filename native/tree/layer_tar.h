// The layer tar of an upper directory: the inverse of tree/apply. Depth first, names sorted bytewise, a
// directory before its content, without the root. Overlay whiteouts become `.wh.NAME`, and `.wh..wh..opq`
// follows an opaque directory. Later names of an inode become hard links to the first. File systems mounted
// inside are left out.
//
// A merged view has none of overlayfs's marks. So the same code gives the tar of a whole root file system
// (`export`), of any directory (`import`) or of a subtree (`cp`). It reads everything relative to directory
// fds and never through a link, so a container that swaps names meanwhile cannot make it leave its tree.
// Memory: the names of the directories on the way down, and one name per multiply linked inode.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "codec/sha256.h"
#include "format/tar_sparse.h"
#include "format/tar_writer.h"
#include "sys/dirents.h"
#include "sys/fd.h"
#include "tree/clones.h"
#include "tree/warnings.h"

namespace layerstack {

// The kind of a tree, which decides what the marks of layers in it mean.
enum class TreeKind {
  kUpper,  // an upper of overlayfs: its marks are translated, or refused
  kPlain,  // any directory that becomes a layer: files that a layer would treat as marks are left out
  kView,   // not for a layer: everything is taken as it is
};

// What of an entry goes into a tar.
enum class Taken { kAll, kContent, kNothing };  // kContent: what is in a directory, not the directory

struct FileOwner {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct LayerTarOptions {
  // Seconds since 1970. Later times become this time (SOURCE_DATE_EPOCH).
  std::optional<int64_t> latest_mtime;
  TreeKind kind = TreeKind::kUpper;
  bool cross_mounts = false;  // takes file systems mounted inside too
  // Makes each file with a hole a sparse member, for a reader that is known to understand them. Else a file
  // becomes a sparse member only if it would have too many zeros: every reader gets its content right, but
  // some do not keep the holes, and dockerd and podman cannot reassemble a layer with such a member.
  bool sparse = false;
  // Of everything, in place of its own. A file loses what chown(2) takes from it: the right to act as its
  // owner, and capabilities.
  std::optional<FileOwner> owner;
  std::optional<mode_t> mode;  // of files and directories, in place of their own
  // Chooses entries by their names in the tar. Unset: all.
  std::function<Taken(const std::string& name, bool is_directory)> choose;
  // Takes the sum of all entries: their facts except times, and their contents. The name of the top member
  // does not count.
  std::shared_ptr<Sha256> sum;
  std::shared_ptr<Clones> clones;  // set if the extractor of the tar can use clones of its larger files
};

class LayerTar {
 public:
  // `directory`: the upper. Throws the errno of open(2).
  LayerTar(const std::string& directory, LayerTarOptions options);
  // The tar of what is at `path` below `root`, as `cp` needs it. Links on the way are resolved inside the
  // root, the last one only if the path ends in "/" or "/.". It becomes the top member `name`, everything
  // below it `name`/... Throws the errno of open(2).
  LayerTar(const std::string& root, const std::string& path, const std::string& name,
           LayerTarOptions options);

  // Fills `buffer` with the next bytes of the tar. 0 is the end. Throws a system failure with the path in the
  // layer, ERR_UPPER_CHANGED if a file shrank while it was read, ERR_UPPER_UNSUPPORTED for a redirect or
  // metacopy attribute (the content is elsewhere then), and ERR_LIMIT_EXCEEDED for a file of so many holes
  // that most of it would be written as zeros. Any thread, one at a time.
  size_t Read(char* buffer, size_t room);

  // Warnings about what the tar cannot hold (sockets, attributes with names that PAX cannot hold), and about
  // what means something else in a layer (whiteouts, by their names or numbers).
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
  void EncodeDirectory(TarEntry& member, int path_fd, dev_t device, bool with_header);
  void EncodeHeader(const TarEntry& member);
  void ReadXattrs(int fd, const std::string& path, TarEntry& member);
  void ReadInodeXattrs(int path_fd, const std::string& path, TarEntry& member);
  template <typename Get>
  void TakeXattrs(const std::vector<std::string>& names, const std::string& path, TarEntry& member, Get get);

  LayerTarOptions options_;
  size_t top_length_ = 0;  // of the top member's name
  dev_t device_ = 0;       // the tree's; file systems mounted in it are left out
  std::vector<Level> stack_;
  std::map<std::pair<dev_t, ino_t>, std::string> first_names_;
  Warnings warnings_;

  std::string pending_;  // header bytes and padding not yet handed out
  size_t pending_at_ = 0;
  UniqueFd file_;  // the content that follows pending_
  std::string file_path_;
  SparseMap file_left_;      // its parts that are still to come
  size_t file_part_ = 0;     // the current part
  uint64_t file_bytes_ = 0;  // all parts together
  uint64_t zeros_left_;      // bytes of holes that may still be written as zeros
  bool ended_ = false;
};

}  // namespace layerstack
