// The merged view of a stack of lower layers, looked up and not mounted. A directory of the view is the list of
// the layers' directories that make it up, topmost first; going down one name costs one fstatat per layer of that list,
// whatever the size of the layers. Whiteouts hide, opaque directories end the list.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "sys/fd.h"

namespace layerstack {

class LowerDirectory {
 public:
  LowerDirectory() = default;  // a directory that no lower has

  // The root of the view. `paths`: the layers' directories, topmost first. Throws the errno of open(2).
  static LowerDirectory Open(const std::vector<std::string>& paths);

  struct Entry {
    struct stat info;
    std::string capability;  // raw security.capability, "" without
  };

  // What the view has under `name`; nothing where it is missing or hidden.
  std::optional<Entry> Find(const std::string& name) const;
  // The directory `name` of the view; empty where the view has no directory there.
  LowerDirectory Descend(const std::string& name) const;
  // Every name that Find would find, sorted bytewise.
  std::vector<std::string> Names() const;

 private:
  std::vector<UniqueFd> parts_;
};

bool IsWhiteout(const struct stat& info);
// Whether the directory behind `fd` hides the same directory of the layers below.
bool IsOpaque(int fd);
// Raw security.capability of `name` in `directory`, "" without; never follows a link.
std::string ReadCapability(int directory, const std::string& name);
// Throws ERR_UPPER_UNSUPPORTED where `name` in `directory` holds a redirect or metacopy attribute: its content is
// elsewhere then. `path` is named in the error.
void RefuseIndirect(int directory, const std::string& name, const struct stat& info, const std::string& path);

}  // namespace layerstack
