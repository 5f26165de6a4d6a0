// Encodes extended attributes in the form of EROFS inodes.
#pragma once

#include <string>

#include "erofs/tree.h"

namespace layerstack::erofs {

// Returns whether EROFS has attributes of this namespace.
bool HasPrefix(const std::string& name);
// Returns the attributes without their header. Throws ERR_LAYER_INVALID, naming `member`, where they are too
// large.
std::string EncodeXattrs(const Xattrs& xattrs, const std::string& member);

}  // namespace layerstack::erofs
