// The marks of overlayfs in an upper directory, besides whiteouts (tree/merged.h).
#pragma once

#include <sys/stat.h>

#include <string>

namespace layerstack {

// Whether the directory behind `fd`, open for reading, hides the same directory of the layers below.
bool IsOpaque(int fd);

// Throws ERR_UPPER_UNSUPPORTED if the entry at `where` has a redirect or metacopy attribute: its content is
// elsewhere then. The error names `path`. False if the entry is gone.
bool RefuseIndirect(const std::string& where, const struct stat& info, const std::string& path);
// Throws that error for the attribute.
[[noreturn]] void RefuseIndirect(const std::string& attribute, const std::string& path);

}  // namespace layerstack
