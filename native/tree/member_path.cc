#include "tree/member_path.h"

namespace layerstack {

std::optional<std::string> CleanMemberPath(std::string_view name) {
  std::string path;
  path.reserve(name.size());
  while (!name.empty()) {
    size_t slash = name.find('/');
    std::string_view part = name.substr(0, slash);
    name.remove_prefix(slash == std::string_view::npos ? name.size() : slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (path.empty()) return std::nullopt;
      size_t parent = path.rfind('/');
      path.resize(parent == std::string::npos ? 0 : parent);
      continue;
    }
    if (!path.empty()) path += '/';
    path += part;
  }
  return path;
}

SplitPath SplitMemberPath(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace layerstack
