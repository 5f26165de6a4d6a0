// Copies files from one root directory into another, as COPY and ADD of a Dockerfile do. Links in the paths
// are resolved inside their root, so that neither the source nor the destination is outside (CVE-2018-15664
// was such a link). A copy is a tar of the source (tree/layer_tar) that
// is extracted at once (tree/unpack), so all kinds of files, attributes, hard links and holes stay.
// Mirrors moby/moby: builder/dockerfile/copy.go at v20.10.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sys/fd.h"
#include "tree/layer_tar.h"
#include "tree/path_rules.h"
#include "tree/warnings.h"

namespace layerstack {

struct CopySource {
  std::string path;  // below the root, clean; "" is the root
  std::string name;  // in the destination
};

struct CopyInOptions {
  std::string root;  // absolute
  std::vector<CopySource> sources;
  std::vector<std::string> rules;  // of the .dockerignore: paths are relative to the root
  std::vector<std::string>
      excludes;                    // the same rules for names of files, and for paths in a source directory
  bool keep_names = false;         // a directory is copied under its name; else only its content is
  bool extract = false;            // a file that is a tar, also a compressed one, is extracted
  std::optional<FileOwner> owner;  // default: as in the source
  std::optional<mode_t> mode;      // of files and directories; default: as in the source
  std::shared_ptr<std::atomic<bool>> aborted = std::make_shared<std::atomic<bool>>(false);
};

struct CopyTarget {
  std::string root;  // absolute
  std::string path;
  bool directory = false;  // files go into a directory with this path, also if it does not exist yet
};

struct CopiedIn {
  std::string digest;  // of what is copied: names, kinds, modes, owners, attributes and contents, not times
  uint64_t members = 0;
  Warnings warnings;
};

// Copies the sources to the target; without one, it only takes the digest. Throws the errno of open(2) with
// the source's path (ENOENT also for one that the rules exclude) or the target's, what Unpacker throws, and
// ERR_ABORTED. After an error, copied files stay. Call it on a thread that has called IsolateThread.
CopiedIn CopyIn(const CopyInOptions& options, const CopyTarget* target);

// The paths below `root` that match a pattern and are not excluded, in the order of their names. Does not
// follow links. `pattern` is that of a PathPattern.
std::vector<std::string> MatchPaths(const std::string& root, const std::string& pattern,
                                    const std::vector<std::string>& rules);

}  // namespace layerstack
