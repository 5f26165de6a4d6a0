// Names of tar members as paths of the layer.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace layerstack {

// Lexically cleaned, without a leading or trailing '/'; "" is the layer's root. Absolute names are taken
// relative to the root. Nothing where the name climbs above the root.
std::optional<std::string> CleanMemberPath(std::string_view name);

struct SplitPath {
  std::string parent;  // "" is the root
  std::string base;
};
// Of a cleaned path that is not the root.
SplitPath SplitMemberPath(const std::string& path);

}  // namespace layerstack
