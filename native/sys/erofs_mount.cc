#include "sys/erofs_mount.h"

#include <string>

#include "sys/failure.h"
#include "sys/fs_context.h"

namespace layerstack {

namespace {

// By their descriptors: what a path leads to may have been replaced, and fsconfig takes 255 bytes of it.
std::string DescriptorPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

[[noreturn]] void ThrowMount(FsContext& context, const char* syscall) {
  const int error = errno;
  const std::string words = context.Log();
  Failure failure = Failure::System(error, syscall);
  if (!words.empty()) failure.message += " (" + words + ")";
  throw failure;
}

}  // namespace

UniqueFd OpenErofs(int image, const std::vector<int>& devices) {
  for (;;) {
    FsContext context("erofs");
    if (!context.SetString("source", DescriptorPath(image))) ThrowMount(context, "fsconfig");
    for (const int device : devices)
      if (!context.SetString("device", DescriptorPath(device))) ThrowMount(context, "fsconfig");
    UniqueFd mount = context.Create(true);
    if (mount) return mount;
    if (errno != EINTR) ThrowMount(context, "fsmount");
  }
}

}  // namespace layerstack
