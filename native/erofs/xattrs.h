// Extended attributes as an inode of EROFS has them.
#pragma once

#include <string>

#include "erofs/tree.h"

namespace layerstack::erofs {

// Whether EROFS has attributes of this namespace.
bool HasPrefix(const std::string& name);
// Without their header. Throws ERR_LAYER_INVALID where they are too large; `member` is whose they are.
std::string EncodeXattrs(const Xattrs& xattrs, const std::string& member);

}  // namespace layerstack::erofs
