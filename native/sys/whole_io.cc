#include "sys/whole_io.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "sys/failure.h"

namespace layerstack {

bool WriteAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t written = Retry([&] { return ::write(fd, data, size); });
    if (written < 0) return false;
    data += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

ssize_t WritePatiently(int fd, const char* data, size_t size, std::chrono::milliseconds patience) {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> deadline;  // set by the first wait: to ask the clock costs more than small writes
  size_t done = 0;
  while (done < size) {
    ssize_t written = Retry([&] { return ::write(fd, data + done, size - done); });
    if (written >= 0) {
      done += static_cast<size_t>(written);
      continue;
    }
    int error = errno;
    if (error == EAGAIN) {
      if (!deadline) deadline = Clock::now() + patience;
      auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
      struct pollfd room = {fd, POLLOUT, 0};
      int ready = left <= 0 ? 0 : Retry([&] { return ::poll(&room, 1, static_cast<int>(left)); });
      if (ready > 0) continue;
      if (ready == 0) break;
      error = errno;
    }
    if (done > 0) break;  // the next call meets the error again
    errno = error;
    return -1;
  }
  return static_cast<ssize_t>(done);
}

void WidenPipe(int fd) {
  constexpr int kBytes = 1 << 20;  // /proc/sys/fs/pipe-max-size, if nobody changed it
  ::fcntl(fd, F_SETPIPE_SZ, kBytes);
}

bool ReadAll(int fd, size_t limit, std::string* text) {
  constexpr size_t kChunk = 64 << 10;
  const size_t before = text->size();
  for (;;) {
    size_t have = text->size();
    if (have - before > limit) return true;
    size_t want = std::min(kChunk, limit - (have - before) + 1);
    text->resize(have + want);
    ssize_t got = Retry([&] { return ::read(fd, text->data() + have, want); });
    text->resize(have + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got <= 0) return got == 0;
  }
}

}  // namespace layerstack
