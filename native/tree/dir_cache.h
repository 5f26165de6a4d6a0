// The directories of a layer that is being extracted, as fds. A directory is opened one component at a time,
// each relative to its parent's fd and never through a link. The cache itself follows links, by their text,
// inside the root. So nothing outside the root can be reached, even if the tree is hostile or changes
// meanwhile.
//
// New entries change the mtime of their directory. The cache reads the mtime when the directory enters and
// restores it when the directory leaves, so that memory does not grow with the number of directories.
#pragma once

#include <sys/stat.h>

#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "sys/fd.h"

namespace layerstack {

struct CachedDir {
  UniqueFd fd;
  std::string path;      // free of links; "" is the root
  timespec times[2];     // the final ones
  bool changed = false;  // entries were added or removed since `times` was read: restore it
  gid_t gid = 0;         // new entries may inherit the group and the setgid bit
  bool set_gid = false;
};

class DirCache {
 public:
  explicit DirCache(UniqueFd root);
  ~DirCache();

  struct Found {
    CachedDir* dir;     // valid until the next call of any function
    bool through_link;  // `path` is not where the directory really is
  };
  // The directory at a cleaned path. `create`: makes missing ones, with mode 0755. A path that does not lead
  // to a directory is ERR_LAYER_INVALID. System errors carry `path`.
  Found Open(const std::string& path, bool create);

  // Closes the directory at `path`, which is free of links, and all below it. Restores nothing.
  void Forget(const std::string& path);
  // Closes all but the root and restores their times.
  void Clear();

 private:
  using List = std::list<CachedDir>;

  CachedDir* Lookup(const std::string& path);
  CachedDir& Enter(UniqueFd fd, std::string path);
  CachedDir& Reopen(const std::string& path);
  void Restore(CachedDir& dir);

  CachedDir root_;
  List recent_;  // the last used in front
  std::unordered_map<std::string, List::iterator> by_path_;
};

}  // namespace layerstack
