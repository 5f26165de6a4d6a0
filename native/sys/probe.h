// Finds out what the kernel and the file system below a directory can do, by trying it.
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

// Tries everything in a scratch directory below `dir`, which it removes even after a failure. Trial mounts
// are attached nowhere (new mount API) or are in the mount namespace of a thread that ends, so that not even
// a crash leaves one. Throws if the scratch directory cannot be made, or if a trial fails for another reason
// than a refusal (EIO, EMFILE, ENOMEM, ...): such an error must not change how a store is used. Takes as long
// as five mkdirs and a mount.
Probe ProbeBelow(const std::string& dir);

}  // namespace layerstack
