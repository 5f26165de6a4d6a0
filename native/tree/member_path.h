// Names of tar members as paths of the layer.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace layerstack {

// The name lexically cleaned, without a leading or trailing '/'. "" is the layer's root. Absolute names are
// relative to the root. Nothing if the name climbs above the root.
std::optional<std::string> CleanMemberPath(std::string_view name);

struct SplitPath {
  std::string parent;  // "" is the root
  std::string base;
};
// Splits a cleaned path that is not the root.
SplitPath SplitMemberPath(const std::string& path);

}  // namespace layerstack
