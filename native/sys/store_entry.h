// Entries of the store, by absolute paths. The program has made every part of such a path itself (the root's own path is
// canonical), so a link anywhere in it was planted: ERR_STORE_CORRUPT names it. What is in the place of a file must be a regular
// file; to open it never blocks.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "sys/fd.h"

namespace layerstack {

// Of the entry itself, be it a link. Empty where it is missing.
std::optional<struct stat> StatEntry(const std::string& path);

// All of a file. Empty where it is missing. ERR_STORE_CORRUPT where it has more than `limit` bytes, or is a fifo, socket or device;
// EISDIR for a directory.
std::optional<std::string> ReadEntry(const std::string& path, size_t limit);

// Where a link leads. Empty where it is missing. EINVAL where there is something else.
std::optional<std::string> ReadEntryLink(const std::string& path);

// The names in a directory, in no order. Empty where it is missing.
std::optional<std::vector<std::string>> ListEntry(const std::string& path);

// Opens a file as open(2) does, made with O_CREAT. Throws the errno, ENOENT too; else as ReadEntry.
UniqueFd OpenEntryFile(const std::string& path, int flags, mode_t mode);

// Opens anything with these flags; throws the errno.
UniqueFd OpenEntry(const std::string& path, int flags);

// After ELOOP of OpenBeneathNoLinks: names the first part of `path`, below the directory `base_fd` that is called `base`, which is a
// link.
[[noreturn]] void ThrowLink(int base_fd, const std::string& base, const std::string& path);

// Something that is neither a directory nor a link, in the place of a directory.
[[noreturn]] void ThrowNoDirectory(const std::string& path, mode_t mode);

}  // namespace layerstack
