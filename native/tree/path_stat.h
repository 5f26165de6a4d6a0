// What is at a path of somebody else's root file system, without opening it: the base of `docker cp` and of the
// service's archive routes.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

namespace layerstack {

struct PathStat {
  struct stat status;
  // Of a link: where it leads in the end, absolute in the root, free of links as far as it exists. The rest of a
  // dangling link's path is taken as it is written. Of a link that leads to itself: its own path, as it was asked for.
  std::optional<std::string> link_target;
};

// Links on the way are resolved inside the root; the last component is not followed, unless the path ends in "/" or
// "/.". Throws the errno of open(2), ELOOP for more than 40 links on the way.
PathStat StatInRoot(const std::string& root, const std::string& path);

}  // namespace layerstack
