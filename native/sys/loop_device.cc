#include "sys/loop_device.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cstdint>

#include "sys/failure.h"

namespace layerstack {

namespace {

// Newer than the headers that the addon is built with (Linux 5.8). LOOP_SET_FD, which is older, makes a
// device that outlives a process which dies before LOOP_SET_STATUS64; no kernel that needs it has EROFS with
// blocks of 512 bytes.
constexpr unsigned long kLoopConfigure = 0x4C0A;

struct LoopConfig {
  uint32_t fd;
  uint32_t block_size;
  loop_info64 info;
  uint64_t reserved[8];
};

constexpr char kControl[] = "/dev/loop-control";
constexpr uint32_t kBlockSize = 512;
// Another process may take the device after it was found free.
constexpr int kAttempts = 1000;

}  // namespace

LoopDevice OpenLoop(int file) {
  UniqueFd control(Again<::open>(kControl, O_RDWR | O_CLOEXEC));
  if (!control) ThrowErrno(errno, "open", kControl);
  LoopConfig config{};
  config.fd = static_cast<uint32_t>(file);
  config.block_size = kBlockSize;
  config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
  for (int attempt = 0;; ++attempt) {
    const int number = Again<::ioctl>(control.get(), static_cast<unsigned long>(LOOP_CTL_GET_FREE));
    if (number < 0) ThrowErrno(errno, "ioctl", kControl);
    const std::string path = "/dev/loop" + std::to_string(number);
    UniqueFd device(Again<::open>(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!device) ThrowErrno(errno, "open", path);
    if (Again<::ioctl>(device.get(), kLoopConfigure, &config) == 0) return {std::move(device), path};
    if (errno != EBUSY || attempt == kAttempts) ThrowErrno(errno, "ioctl", path);
  }
}

}  // namespace layerstack
