#include "sys/whole_io.h"

#include <unistd.h>

#include <algorithm>

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
