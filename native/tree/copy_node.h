// Copies single files, of every kind but directories.
#pragma once

#include <sys/stat.h>

#include <string>

namespace layerstack {

// How to treat the attributes by which overlayfs marks files (trusted.overlay.*).
enum class OverlayMarks { kLeaveOut, kCopy };

// Makes `name` in `to_dir` a copy of `name` in `from_dir`, with owner, mode, attributes and times. Clones the
// content where the file system can, and keeps holes. `st` is the lstat of the file, `path` the full path of
// the copy. Throws the system error: also ENOENT if the file was removed, and ELOOP or ENXIO if it was
// replaced by another kind.
void CopyNode(int from_dir, int to_dir, const std::string& name, const struct stat& st,
              const std::string& path, OverlayMarks marks);

// Copies the attributes of an open file or directory.
void CopyAttributes(int from, int to, const std::string& path, OverlayMarks marks);

// Gives `name` in `dir` the times of `st`. `flags` of utimensat(2).
void CopyTimes(int dir, const char* name, const struct stat& st, int flags, const std::string& path);

}  // namespace layerstack
