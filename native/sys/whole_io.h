// Whole reads and writes on an fd, and patient ones.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace layerstack {

// Writes all of it, or returns false with errno set.
bool WriteAll(int fd, const char* data, size_t size);
// The same, but throws.
void Write(int fd, std::string_view bytes);

// What a job of the shared threads may wait for others, in all.
inline constexpr std::chrono::milliseconds kPatience{25};

// Writes all of it, but waits no more than `*patience`, from which the waiting is taken, for the reader of a pipe, socket or
// terminal, whether the fd blocks or not. The bytes written: fewer where patience ended, or before an error, which the next
// call meets. -1 with errno set.
ssize_t WritePatiently(int fd, const char* data, size_t size, std::chrono::nanoseconds* patience);

// Gives a pipe at least the largest buffer that every user may ask for, so that its two ends wake each other less often. No-op
// for what is no pipe, and where the system allows less.
void WidenPipe(int fd);

// Appends what is left of the file to `*text`, stopping once `limit` bytes are exceeded (then `*text` is longer than
// `limit`). False with errno set on failure.
bool ReadAll(int fd, size_t limit, std::string* text);

}  // namespace layerstack
