// Whole reads and writes on an fd.
#pragma once

#include <cstddef>
#include <string>

namespace layerstack {

// Writes all of it, or returns false with errno set.
bool WriteAll(int fd, const char* data, size_t size);

// Appends what is left of the file to `*text`, stopping once `limit` bytes are exceeded (then `*text` is longer than
// `limit`). False with errno set on failure.
bool ReadAll(int fd, size_t limit, std::string* text);

}  // namespace layerstack
