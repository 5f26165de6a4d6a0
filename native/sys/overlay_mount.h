// Mounts overlays, unmounts, and tells whether a directory is a mount point. There are three mount methods:
//
//   fsconfig: fsopen, fsconfig, fsmount and move_mount (Linux 5.2), with one `lowerdir+` per lower (6.7).
//             Without `lowerdir+`, one `lowerdir` string if it fits fsconfig's 255 bytes, else as `mount`.
//   mount:    mount(2). All options must fit one page. With names of 28 bytes (`l/` and 26) and a separator
//             these are 141 lowers less the room of upper and work.
//   flat:     mount(2) with exactly one lower, for kernels before 4.0.
//
// Names of lowers, upper and work are relative to `root`: the calling pool thread has a working directory of
// its own (sys/thread_pool.h) and changes to `root`. If it has none, the names become absolute.
#pragma once

#include <string>
#include <vector>

#include "sys/fd.h"

namespace layerstack {

enum class MountMethod { kFsconfig, kMount, kFlat };

// The most lowers that overlayfs can stack: OVL_MAX_STACK in the kernel since 4.0.
inline constexpr size_t kMaxLowers = 500;

struct OverlayMount {
  std::string root;
  std::string target;
  std::vector<std::string> lowers;  // topmost first
  std::string lower_file;           // relative to root: names the lowers, if there are none above
  std::string upper;                // empty: a read-only view of the lowers
  std::string work;
  bool read_only = false;
  MountMethod method = MountMethod::kFsconfig;
  std::vector<std::string> options;  // "key=value" or "flag"
};

// Mounts at `target`, an existing directory. It must be empty if there is neither an upper nor a second
// lower: then it is the second lower that overlayfs insists on. Throws ERR_LAYER_DEPTH if there are more
// lowers than the method can take, ERR_INVALID_ARGUMENT for names that mount options cannot carry, else the
// system error, with the kernel's own message if the new API returns one. A lower file must contain only
// short names: else ERR_STORE_CORRUPT.
void MountOverlay(const OverlayMount& mount);

// Returns a read-only view of `lowers` (topmost first, relative to `root`) that is not attached to a path and
// ends with its fd. Needs the method fsconfig. Throws as MountOverlay.
UniqueFd OpenOverlay(const std::string& root, const std::vector<std::string>& lowers);

// False if nothing is mounted at `target`. A link at `target` is not followed.
bool Unmount(const std::string& target, bool detach);

// Takes the mount out of the tree at once, as `detach` does. The file system ends on another thread: the last
// mount of an overlay syncs the whole file system of its upper. False if nothing is mounted at `target`.
bool UnmountBehind(const std::string& target);

// Makes the mount at `target` read-only or writable, but not its file system or other mounts of that. Throws
// EBUSY if files are open for writing through the mount, and EINVAL if nothing is mounted there.
void SetMountReadOnly(const std::string& target, bool read_only);

// Makes the file system at `target` read-only, in all its mounts. Throws EBUSY if files of it are open for
// writing, or are open without a name.
void SetFileSystemReadOnly(const std::string& target);

enum class MountState { kNone, kOverlay, kOther };
// Whether `path` itself is the root of a mount. A missing path is kNone.
MountState StateOf(const std::string& path);

}  // namespace layerstack
