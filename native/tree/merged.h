// One directory of an image's merged view, as overlayfs would show it. It is found by looking into the layers
// instead of mounting them (kernel: Documentation/filesystems/overlayfs.rst). A whiteout is a character
// device 0:0. A directory with trusted.overlay.opaque=y hides what is below it. A directory merges with the
// directories of its name below, down to the first entry that is not a directory.
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
    size_t layer = 0;                  // the index of the directory that has the entry
    std::unique_ptr<MergedDir> below;  // set for a directory
  };

  struct Name {
    std::string name;
    size_t layer;  // the topmost directory that has it
  };

  // An empty view.
  MergedDir() = default;

  // The root of the view: `lowers` topmost first, relative to `root_fd`, or absolute for a directory that the
  // caller has open (`/proc/self/fd/N/.`). Throws Failure.
  MergedDir(int root_fd, const std::string& root, const std::vector<std::string>& lowers);

  // What the view has under `name`. `first`: the topmost directory that may have it, if known.
  Found Lookup(const std::string& name, size_t first = 0) const;

  // Whether nothing of a layer below these directories shows here: the lowest one is opaque, or hides it.
  bool closed() const { return closed_; }

  // Every name that any of the directories has, hidden or not.
  std::vector<Name> List() const;

  // The same for the directories of the first `layers` lowers of the root only.
  std::vector<Name> ListAbove(size_t layers) const;
  // The number of directories of the other lowers.
  size_t CountBelow(size_t layers) const;
  // The lower of the root, from 0, of which a directory is a part.
  size_t lower(size_t layer) const { return parts_[layer].lower; }

  // The directories that merge into this one, topmost first, open for reading.
  size_t layers() const { return parts_.size(); }
  int fd(size_t layer) const { return parts_[layer].fd.get(); }
  // The path of a directory, for messages.
  const std::string& path(size_t layer = 0) const { return parts_[layer].path; }

 private:
  struct Part {
    UniqueFd fd;
    std::string path;
    size_t lower;
  };

  // Adds a directory below the others. False if nothing below it shows.
  bool Add(UniqueFd fd, std::string path, size_t lower);
  std::vector<Name> List(size_t count) const;

  std::vector<Part> parts_;
  bool closed_ = false;
};

bool IsWhiteout(const struct stat& st);

}  // namespace layerstack
