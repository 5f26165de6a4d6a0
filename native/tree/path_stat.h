// Tells what is at a path of a root file system without opening it, for `docker cp` and the service's archive
// routes.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

namespace layerstack {

struct PathStat {
  struct stat status;
  // Of a link: where it finally leads, absolute in the root, free of links as far as it exists. The rest of a
  // dangling link is as written. A link that leads to itself has the path of the request.
  std::optional<std::string> link_target;
};

// Resolves links on the way inside the root. Follows the last component only if the path ends in "/" or "/.".
// Throws the errno of open(2), ELOOP for more than 40 links on the way.
PathStat StatInRoot(const std::string& root, const std::string& path);

// The path, absolute in the root and free of links as far as it exists. Links are followed by their text,
// also the last one. It is only out of date if the tree changes meanwhile, so its users resolve it again
// inside the root. A path with more than kMaxLinks links is returned as it is.
std::string CanonicalInRoot(int root_fd, const std::string& path);

}  // namespace layerstack
