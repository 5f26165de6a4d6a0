// One directory of an image's merged view, found by looking into its layers and not by mounting them: what
// overlayfs would show for it (kernel: Documentation/filesystems/overlayfs.rst). A whiteout is a character device
// 0:0; a directory with trusted.overlay.opaque=y hides what is below it; a directory merges with the directories of
// its name below, down to the first entry that is none.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "sys/fd.h"

namespace layerstack {

class MergedDir {
 public:
  struct Found {
    bool exists = false;
    struct stat st = {};               // of the entry that shows
    size_t layer = 0;                  // index into the directories of this one: where the entry is
    std::unique_ptr<MergedDir> below;  // for a directory
  };

  struct Name {
    std::string name;
    size_t layer;  // the topmost directory of this one that has it
  };

  // A view of nothing.
  MergedDir() = default;

  // The root of the view: `lowers` topmost first, relative to `root_fd`. Throws Failure.
  MergedDir(int root_fd, const std::string& root, const std::vector<std::string>& lowers);

  // What the view has under `name`. `first`: the topmost directory that may have it, if known.
  Found Lookup(const std::string& name, size_t first = 0) const;

  // Every name that any of the directories has, hidden or not.
  std::vector<Name> List() const;

  // The directories that merge into this one, topmost first, open for reading.
  size_t layers() const { return parts_.size(); }
  int fd(size_t layer) const { return parts_[layer].fd.get(); }
  // Where the topmost directory is, for messages.
  const std::string& path(size_t layer = 0) const { return parts_[layer].path; }

 private:
  struct Part {
    UniqueFd fd;
    std::string path;
  };

  // Adds a directory below the others; false where nothing below it shows.
  bool Add(UniqueFd fd, std::string path);

  std::vector<Part> parts_;
};

bool IsWhiteout(const struct stat& st);

}  // namespace layerstack
