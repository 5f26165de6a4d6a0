// What overlayfs marks in an upper directory, besides whiteouts (tree/merged.h).
#pragma once

#include <sys/stat.h>

#include <string>

namespace layerstack {

// Whether the directory behind `fd`, open for reading, hides the same directory of the layers below.
bool IsOpaque(int fd);

// Throws ERR_UPPER_UNSUPPORTED where the entry that is reached by `where` holds a redirect or metacopy attribute: its
// content is elsewhere then. `path` is named in the error. False where the entry is gone.
bool RefuseIndirect(const std::string& where, const struct stat& info, const std::string& path);
// The refusal itself, of the attribute that was found.
[[noreturn]] void RefuseIndirect(const std::string& attribute, const std::string& path);

}  // namespace layerstack
