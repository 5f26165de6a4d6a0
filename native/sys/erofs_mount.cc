#include "sys/erofs_mount.h"

#include <string>

#include "sys/failure.h"
#include "sys/fs_context.h"
#include "sys/loop_device.h"

namespace layerstack {

namespace {

// Names files by their descriptors: a path may lead to a replaced file, and fsconfig takes at most 255 bytes.
std::string DescriptorPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

[[noreturn]] void ThrowMount(FsContext& context, const char* syscall) {
  const int error = errno;
  const std::string words = context.Log();
  Failure failure = Failure::System(error, syscall);
  if (!words.empty()) failure.message += " (" + words + ")";
  throw failure;
}

// The files or loop devices to mount. Loop devices stay open until they are mounted.
class Places {
 public:
  Places(int image, const std::vector<int>& devices, ErofsMethod method) {
    Add(image, method);
    for (const int device : devices) Add(device, method);
  }

  const std::string& Image() const { return paths_.front(); }
  std::vector<std::string> Devices() const { return {paths_.begin() + 1, paths_.end()}; }

 private:
  void Add(int file, ErofsMethod method) {
    if (method == ErofsMethod::kFile) {
      paths_.push_back(DescriptorPath(file));
      return;
    }
    loops_.push_back(OpenLoop(file));
    paths_.push_back(loops_.back().path);
  }

  std::vector<std::string> paths_;
  std::vector<LoopDevice> loops_;
};

}  // namespace

UniqueFd OpenErofs(int image, const std::vector<int>& devices, ErofsMethod method) {
  const Places places(image, devices, method);
  for (;;) {
    FsContext context("erofs");
    if (!context.SetString("source", places.Image())) ThrowMount(context, "fsconfig");
    for (const std::string& device : places.Devices())
      if (!context.SetString("device", device)) ThrowMount(context, "fsconfig");
    if (!context.SetFlag("ro")) ThrowMount(context, "fsconfig");  // a read-only loop device requires it
    UniqueFd mount = context.Create(true);
    if (mount) return mount;
    if (errno != EINTR) ThrowMount(context, "fsmount");
  }
}

}  // namespace layerstack
