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
  std::vector<std::string> todo{""};
  while (!todo.empty()) {
    std::string path = std::move(todo.back());
    todo.pop_back();
    UniqueFd dir = OpenBeneathNoLinks(root, path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
    if (!dir && !path.empty() && (errno == ENOENT || errno == ENOTDIR)) continue;
    if (!dir) ThrowErrno(errno, "open", path);
    Dirents entries(dir.get());
    for (;;) {
      const std::vector<Dirents::Entry>& piece = entries.Next();
      if (piece.empty()) break;
      for (const Dirents::Entry& entry : piece) {
        struct stat status;
        if (::fstatat(dir.get(), entry.name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
          if (errno == ENOENT) continue;
          ThrowErrno(errno, "stat", path);
        }
        if (S_ISDIR(status.st_mode)) {
          todo.push_back(path.empty() ? entry.name : path + "/" + entry.name);
        } else if (status.st_nlink == 1 || linked.insert(status.st_ino).second) {
          size += static_cast<uint64_t>(status.st_size);
        }
      }
    }
    if (errno != 0) ThrowErrno(errno, "getdents64", path);
  }
  return size;
}

}  // namespace layerstack
