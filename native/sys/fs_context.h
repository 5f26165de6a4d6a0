// A file system being configured by the new mount API (Linux 5.2). Makes raw system calls; see
// sys/syscalls.h.
#pragma once

#include <string>

#include "sys/fd.h"

namespace layerstack {

class FsContext {
 public:
  // The longest value that fsconfig(2) takes.
  static constexpr size_t kMaxString = 255;

  // Throws the system error: ENOSYS before Linux 5.2, ENODEV without the file system, EPERM without
  // privilege.
  explicit FsContext(const char* type);

  // False with errno set if the kernel refuses.
  bool SetString(const char* key, const std::string& value);
  bool SetFlag(const char* key);
  // "key=value" or "flag".
  bool SetOption(const std::string& option);

  // Makes the superblock and a mount of it that is not attached to a path and ends with its fd. Empty with
  // errno set on failure. After EINTR the context cannot be used any more: begin with another one.
  UniqueFd Create(bool read_only);

  // Takes the kernel's messages about the last failures, e.g. "overlay: No changes allowed in reconfigure".
  std::string Log();

 private:
  UniqueFd fd_;
};

// Attaches a mount that Create has made. False with errno set on failure. A link at `target` is not followed.
bool AttachMount(int mount_fd, const std::string& target);

// Whether move_mount(2) exists and may be called.
bool HaveMoveMount();

}  // namespace layerstack
