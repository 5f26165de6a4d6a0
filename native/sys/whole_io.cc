#include "sys/whole_io.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "sys/failure.h"

namespace layerstack {

bool WriteAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t written = Again<::write>(fd, data, size);
    if (written < 0) return false;
    data += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

void Write(int fd, std::string_view bytes) {
  if (!WriteAll(fd, bytes.data(), bytes.size())) ThrowErrno(errno, "write");
}

namespace {

// Whether write(2) could wait for a reader without a bound.
bool MayBlock(int fd) {
  struct stat info;
  if (Again<::fstat>(fd, &info) != 0 || S_ISREG(info.st_mode) || S_ISBLK(info.st_mode)) return false;
  const int flags = Again<::fcntl>(fd, F_GETFL);
  return flags >= 0 && !(flags & O_NONBLOCK);
}

// False if patience ended first.
bool WaitForRoom(int fd, std::chrono::nanoseconds* patience) {
  using Clock = std::chrono::steady_clock;
  struct pollfd room = {fd, POLLOUT, 0};
  int ready = Again<::poll>(&room, 1, 0);
  if (ready == 0 && patience->count() > 0) {
    const auto start = Clock::now();
    const auto most = std::chrono::ceil<std::chrono::milliseconds>(*patience).count();
    ready = Again<::poll>(&room, 1, static_cast<int>(most));
    *patience -= Clock::now() - start;
  }
  return ready != 0;  // write(2) reports the error
}

}  // namespace

ssize_t WritePatiently(int fd, const char* data, size_t size, std::chrono::nanoseconds* patience) {
  // A pipe that is ready takes this much at once. A blocking fd would wait until more of it fits.
  const bool may_block = MayBlock(fd);
  const size_t most = may_block ? PIPE_BUF : size;
  size_t done = 0;
  while (done < size) {
    if (may_block && !WaitForRoom(fd, patience)) break;
    const size_t count = std::min(most, size - done);
    ssize_t written = Again<::write>(fd, data + done, count);
    if (written >= 0) {
      done += static_cast<size_t>(written);
      continue;
    }
    if (errno == EAGAIN) {
      if (WaitForRoom(fd, patience)) continue;
      break;
    }
    if (done > 0) break;  // the next call meets the error again
    return -1;
  }
  return static_cast<ssize_t>(done);
}

void WidenPipe(int fd) {
  constexpr int kBytes = 1 << 20;  // the default of /proc/sys/fs/pipe-max-size
  const int now = Again<::fcntl>(fd, F_GETPIPE_SZ);
  if (now >= 0 && now < kBytes) Again<::fcntl>(fd, F_SETPIPE_SZ, kBytes);
}

bool ReadAll(int fd, size_t limit, std::string* text) {
  constexpr size_t kChunk = 64 << 10;
  const size_t before = text->size();
  for (;;) {
    size_t have = text->size();
    if (have - before > limit) return true;
    size_t want = std::min(kChunk, limit - (have - before) + 1);
    text->resize(have + want);
    ssize_t got = Again<::read>(fd, text->data() + have, want);
    text->resize(have + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got <= 0) return got == 0;
  }
}

}  // namespace layerstack
