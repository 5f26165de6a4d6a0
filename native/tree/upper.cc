#include "tree/upper.h"

#include <sys/xattr.h>

#include <string>
#include <vector>

#include "sys/failure.h"
#include "sys/xattrs.h"

namespace layerstack {

bool IsOpaque(int fd) {
  char value[2];  // read for every directory, so without an allocation
  return Again<::fgetxattr>(fd, "trusted.overlay.opaque", value, sizeof value) == 1 && value[0] == 'y';
}

void RefuseIndirect(const std::string& attribute, const std::string& path) {
  ThrowInput("ERR_UPPER_UNSUPPORTED",
             "overlayfs keeps the content of an entry elsewhere (" + attribute +
                 "); mount containers with redirect_dir=off,metacopy=off",
             {{"member", path}});
}

bool RefuseIndirect(const std::string& where, const struct stat& info, const std::string& path) {
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return true;
  char names[256];  // read for every entry, most of which have no attributes, so without an allocation
  ssize_t size = Again<::llistxattr>(where.c_str(), names, sizeof names);
  if (size == 0) return true;
  if (size < 0 && errno == ENOENT) return false;  // deleted meanwhile by the running container
  std::vector<std::string> attributes;
  try {
    attributes = ListXattrs(where);
  } catch (const Failure& failure) {
    if (failure.errnum == ENOENT) return false;
    throw;
  }
  for (const std::string& attribute : attributes) {
    if (attribute == "trusted.overlay.redirect" || attribute == "trusted.overlay.metacopy") {
      RefuseIndirect(attribute, path);
    }
  }
  return true;
}

}  // namespace layerstack
