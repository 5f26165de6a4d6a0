#include "tree/content_size.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <unordered_set>
#include <vector>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/resolve.h"

namespace layerstack {

uint64_t ContentSize(int root) {
  uint64_t size = 0;
  std::unordered_set<ino_t> linked;
  // One level for each directory on the way down, with the names still to do. A path for each would be a
  // name's length times the depth, which a layer can make gigabytes.
  struct Level {
    std::string path;
    std::vector<std::string> names;
  };
  std::vector<Level> levels{{"", {""}}};
  while (!levels.empty()) {
    if (levels.back().names.empty()) {
      levels.pop_back();
      continue;
    }
    const std::string& above = levels.back().path;
    std::string path = above.empty() ? levels.back().names.back() : above + "/" + levels.back().names.back();
    levels.back().names.pop_back();
    UniqueFd dir = OpenBeneathNoLinks(root, path, O_RDONLY | O_DIRECTORY);
    if (!dir && !path.empty() && (errno == ENOENT || errno == ENOTDIR)) continue;
    if (!dir) ThrowErrno(errno, "open", path);
    Level below{std::move(path), {}};
    Dirents entries(dir.get());
    for (;;) {
      const std::vector<Dirents::Entry>& piece = entries.Next();
      if (piece.empty()) break;
      for (const Dirents::Entry& entry : piece) {
        struct stat status;
        if (Again<::fstatat>(dir.get(), entry.name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
          if (errno == ENOENT) continue;
          ThrowErrno(errno, "stat", below.path);
        }
        if (S_ISDIR(status.st_mode)) {
          below.names.emplace_back(entry.name);
        } else if (status.st_nlink == 1 || linked.insert(status.st_ino).second) {
          size += static_cast<uint64_t>(status.st_size);
        }
      }
    }
    if (errno != 0) ThrowErrno(errno, "getdents64", below.path);
    levels.push_back(std::move(below));
  }
  return size;
}

}  // namespace layerstack
