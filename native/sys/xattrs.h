// Extended attributes by fd or by path. Links are never followed. A value that grows while it is read is read
// again.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace layerstack {

// Empty if the attribute does not exist or the file system has no attributes. Throws Failure on any other
// error.
std::optional<std::string> GetXattr(const std::string& path, const std::string& name);
void SetXattr(const std::string& path, const std::string& name, const std::string& value);
std::vector<std::string> ListXattrs(const std::string& path);

// A path of `name` in the directory behind `directory`, for the functions above.
std::string EntryPath(int directory, const std::string& name);

// The same for an fd that is open for reading (not O_PATH). Failures have the path `what`.
std::optional<std::string> GetXattr(int fd, const std::string& name, const std::string& what);
void SetXattr(int fd, const std::string& name, const std::string& value, const std::string& what);
std::vector<std::string> ListXattrs(int fd, const std::string& what);

// The same for an fd that may be O_PATH, of anything but a link. Nothing is opened, and the attributes are
// those of the inode, even if its name was removed or replaced.
std::optional<std::string> GetInodeXattr(int fd, const std::string& name, const std::string& what);
std::vector<std::string> ListInodeXattrs(int fd, const std::string& what);

// Names and values.
using Xattrs = std::vector<std::pair<std::string, std::string>>;

// All attributes except overlayfs's own (trusted.overlay.*), which describe the place of a file in one layer.
Xattrs CopiedXattrs(int fd, const std::string& what);

// Sets the attributes. Leaves out those that the file system does not know, as dockerd does.
void SetKnownXattrs(int fd, const Xattrs& attributes, const std::string& what);

// Gives `to` the CopiedXattrs of `from`.
void CopyXattrs(int from, int to, const std::string& what);

}  // namespace layerstack
