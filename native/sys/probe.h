// What the kernel and the file system below a directory can do, found out by doing it.
#pragma once

#include <string>

namespace layerstack {

struct Probe {
  std::string kernel;
  unsigned uid = 0;
  bool sys_admin = false;
  std::string fs_type;
  bool d_type = false;
  bool trusted_xattr = false;
  bool whiteouts = false;
  bool overlay = false;
  bool new_mount_api = false;
  bool lowerdir_append = false;
  bool multiple_lowers = false;
  bool index_parameter = false;
  bool redirect_dir = false;
  bool metacopy = false;
  bool openat2 = false;
};

// Tries in a scratch directory that it makes below `dir` and removes, whatever fails. Trial mounts are attached nowhere
// (new mount API) or live in a mount namespace of a thread that ends, so that not even a crash leaves one. Throws
// where the scratch directory cannot be made, and where a trial fails by something that is no answer (EIO, EMFILE, ENOMEM, ...): a
// store must not be used another way for that. Takes the time of five mkdirs and a mount.
Probe ProbeBelow(const std::string& dir);

}  // namespace layerstack
