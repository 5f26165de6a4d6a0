// Entries of the store, by absolute paths. The program has made every part of such a path itself (the root's
// own path is canonical), so a link anywhere in it was planted: ERR_STORE_CORRUPT names it. A file must be a
// regular file; opening it never blocks.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "sys/fd.h"

namespace layerstack {

// The status of the entry itself, even if it is a link. Empty if it is missing.
std::optional<struct stat> StatEntry(const std::string& path);

// All of a file. Empty if it is missing. ERR_STORE_CORRUPT if it has more than `limit` bytes or is a fifo,
// socket or device; EISDIR for a directory.
std::optional<std::string> ReadEntry(const std::string& path, size_t limit);

// Where a link leads. Empty if it is missing. EINVAL if it is not a link.
std::optional<std::string> ReadEntryLink(const std::string& path);

// The names in a directory, in no order. Empty if it is missing.
std::optional<std::vector<std::string>> ListEntry(const std::string& path);

// Opens a file as open(2) does; O_CREAT makes it. Throws the errno, also ENOENT, and else as ReadEntry.
UniqueFd OpenEntryFile(const std::string& path, int flags, mode_t mode);

// Opens anything with these flags. Throws the errno.
UniqueFd OpenEntry(const std::string& path, int flags);

// Call it after ELOOP of OpenBeneathNoLinks: names the first part of `path` that is a link. `base` is the
// name of the directory `base_fd`.
[[noreturn]] void ThrowLink(int base_fd, const std::string& base, const std::string& path);

// Says that something is at `path` that is neither a directory nor a link.
[[noreturn]] void ThrowNoDirectory(const std::string& path, mode_t mode);

}  // namespace layerstack
