#include "tree/empty_copy.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/resolve.h"
#include "sys/xattrs.h"

namespace layerstack {

void MakeEmptyCopy(const std::string& root, const std::string& from, const std::string& to) {
  UniqueFd base(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!base) ThrowErrno(errno, "open", root);
  const std::string from_path = root + "/" + from;
  const std::string to_path = root + "/" + to;
  UniqueFd source = OpenInRoot(base.get(), from, O_RDONLY | O_DIRECTORY);
  if (!source) ThrowErrno(errno, "open", from_path);
  struct stat st;
  if (Again<::fstat>(source.get(), &st) != 0) ThrowErrno(errno, "fstat", from_path);

  const size_t slash = to.rfind('/');
  const std::string name = slash == std::string::npos ? to : to.substr(slash + 1);
  UniqueFd parent = OpenBeneathNoLinks(base.get(), slash == std::string::npos ? "." : to.substr(0, slash),
                                       O_PATH | O_DIRECTORY);
  if (!parent) ThrowErrno(errno, "open", to_path);
  if (Again<::mkdirat>(parent.get(), name.c_str(), 0700) != 0) ThrowErrno(errno, "mkdir", to_path);
  UniqueFd made(Again<::openat>(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!made) ThrowErrno(errno, "open", to_path);
  if (Again<::fchown>(made.get(), st.st_uid, st.st_gid) != 0) ThrowErrno(errno, "fchown", to_path);
  CopyXattrs(source.get(), made.get(), to_path);
  if (Again<::fchmod>(made.get(), st.st_mode & 07777) != 0) ThrowErrno(errno, "fchmod", to_path);
  const timespec times[2] = {st.st_atim, st.st_mtim};
  if (Again<::futimens>(made.get(), times) != 0) ThrowErrno(errno, "futimens", to_path);
}

}  // namespace layerstack
