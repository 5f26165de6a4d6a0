// Reads and writes of whole texts on an fd, and writes that wait a bounded time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace layerstack {

// Writes everything, or returns false with errno set.
bool WriteAll(int fd, const char* data, size_t size);
// Writes everything, or throws the errno.
void Write(int fd, std::string_view bytes);

// How long a job of the shared threads may wait for others, in all.
inline constexpr std::chrono::milliseconds kPatience{25};

// Writes everything, but waits no longer than `*patience` for the reader of a pipe, socket or terminal,
// whether the fd blocks or not, and subtracts that time from it. Returns the number of bytes written: fewer
// if patience ended, or before an error, which the next call meets. -1 with errno set.
ssize_t WritePatiently(int fd, const char* data, size_t size, std::chrono::nanoseconds* patience);

// Gives a pipe at least the largest buffer that every user may ask for, so that its two ends wake each other
// less often. Does nothing if `fd` is not a pipe, or if the system allows less.
void WidenPipe(int fd);

// Appends the rest of the file to `*text`. Stops when `*text` is longer than `limit`. False with errno set on
// failure.
bool ReadAll(int fd, size_t limit, std::string* text);

}  // namespace layerstack
