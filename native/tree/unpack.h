// Extracts a tar into a directory of an existing tree, as dockerd does for `docker cp`: no member stands for
// a removal, directories are merged, and other entries are replaced. A container may change its tree
// meanwhile. So every directory is opened inside the root (sys/resolve), and everything else happens relative
// to its fd and without following a link.
//
// A file that replaces another is written beside it and renamed over it, so that a full disk does not cost
// the old content.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "format/tar_reader.h"
#include "sys/fd.h"
#include "tree/metadata.h"
#include "tree/size_bound.h"
#include "tree/warnings.h"

namespace layerstack {

struct UnpackOptions {
  std::string root;       // absolute
  std::string directory;  // where members go; links are followed inside the root
  // A directory and something else do not replace each other: ERR_PATH_TYPE.
  bool keep_kinds = false;
  // The owner of everything: as the tar says, the caller (then set-id bits are dropped), or `uid` and `gid`.
  enum class Owner { kArchive, kCaller, kFixed } owner = Owner::kArchive;
  uid_t uid = 0;
  gid_t gid = 0;
  uid_t parents_uid = 0;  // the owner of directories that have no member of their own
  gid_t parents_gid = 0;
  uint64_t max_bytes = UINT64_MAX;  // the most that the tar may have, holes included
};

class Unpacker : private RawSink {
 public:
  // Throws ERR_PATH_TYPE if `directory` is not a directory, the errno of open(2) if it is missing.
  Unpacker(UnpackOptions options, ByteSource& source);

  // Reads the source to its end. Call it once, on a thread that has called IsolateThread. A Failure has the
  // fact `member` if a member is at fault. The members before it stay.
  void Run();
  uint64_t Members() const { return reader_.Members(); }
  Warnings& Left() { return warnings_; }

 private:
  struct DirectoryTimes {
    std::string path;
    timespec times[2];
  };

  void Raw(std::string_view) override {}
  void Apply(TarMember& member);
  void Own(TarMember& member) const;
  std::string At(const std::string& path) const { return options_.directory + "/" + path; }
  int Parent(const std::string& parent);
  UniqueFd MakeDirectories(const std::string& path);
  void MakeRoom(int parent, const std::string& base, const TarMember& member);
  template <typename Make>
  void Place(int parent, const std::string& base, const TarMember& member, const char* syscall, Make make);
  void Directory(int parent, const std::string& base, const std::string& path, const TarMember& member);
  void Node(int parent, const std::string& base, const TarMember& member);
  void RegularFile(int parent, const std::string& base, const TarMember& member);
  void WriteContent(int fd, const TarMember& member);
  void HardLink(int parent, const std::string& base, const TarMember& member);
  void Finish(NodeRef node, const TarMember& member);
  void SetDirectoryTimes();

  UnpackOptions options_;
  UniqueFd root_;
  TarReader reader_;
  SizeBound bound_;
  Warnings warnings_;
  std::optional<std::string> parent_path_;  // parent_'s, as members name it
  UniqueFd parent_;
  std::vector<DirectoryTimes> directories_;  // set last, since new entries change them
};

}  // namespace layerstack
