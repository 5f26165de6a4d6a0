// Copies an upper that may change meanwhile, whiteouts and opaque directories included.
#pragma once

#include <string>

namespace layerstack {

// Makes the directory `to` a copy of the directory `from`, both relative to `root`. Hard links stay hard
// links; content is cloned where the file system can. Each file is copied as it is at one of the moments of
// the copy. If entries were made, moved or removed meanwhile, it begins again, since it may have missed a
// file that was moved. Throws ERR_CONTAINER_BUSY if this happens each time, else the system error. After an
// error the caller removes the parts of `to`.
void CopyUpper(const std::string& root, const std::string& from, const std::string& to);

}  // namespace layerstack
