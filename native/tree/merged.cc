#include "tree/merged.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <set>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/resolve.h"
#include "sys/xattrs.h"

namespace layerstack {

bool IsWhiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0); }

MergedDir::MergedDir(int root_fd, const std::string& root, const std::vector<std::string>& lowers) {
  for (const std::string& lower : lowers) {
    const bool open = lower.starts_with('/');
    std::string path = open ? lower : root + "/" + lower;
    UniqueFd fd(open ? UniqueFd(Again<::open>(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))
                     : OpenInRoot(root_fd, lower, O_RDONLY | O_DIRECTORY));
    if (!fd && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
      ThrowInput("ERR_STORE_CORRUPT",
                 "the directory " + path + " of a layer is missing: load its image again", {{"path", path}});
    if (!fd) ThrowErrno(errno, "open", path);
    // The roots of layers always merge: overlayfs ignores an opaque mark there.
    parts_.push_back({std::move(fd), std::move(path), parts_.size()});
  }
}

bool MergedDir::Add(UniqueFd fd, std::string path, size_t lower) {
  bool opaque = GetXattr(fd.get(), "trusted.overlay.opaque", path) == "y";
  parts_.push_back({std::move(fd), std::move(path), lower});
  return !opaque;
}

MergedDir::Found MergedDir::Lookup(const std::string& name, size_t first) const {
  Found found;
  for (size_t layer = first; layer < parts_.size(); ++layer) {
    const Part& part = parts_[layer];
    std::string path = part.path + "/" + name;
    struct stat st;
    if (Again<::fstatat>(part.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      ThrowErrno(errno, "stat", path);
    }
    if (!S_ISDIR(st.st_mode)) {
      if (found.below) found.below->closed_ = true;
      if (found.exists || IsWhiteout(st)) return found;
      found.exists = true;
      found.st = st;
      found.layer = layer;
      return found;
    }
    if (!found.exists) {
      found.exists = true;
      found.st = st;
      found.layer = layer;
      found.below.reset(new MergedDir);
    }
    UniqueFd fd(
        Again<::openat>(part.fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) ThrowErrno(errno, "open", path);
    if (!found.below->Add(std::move(fd), std::move(path), part.lower)) {
      found.below->closed_ = true;
      return found;
    }
  }
  return found;
}

std::vector<MergedDir::Name> MergedDir::List() const { return List(parts_.size()); }

std::vector<MergedDir::Name> MergedDir::ListAbove(size_t layers) const {
  return List(parts_.size() - CountBelow(layers));
}

size_t MergedDir::CountBelow(size_t layers) const {
  size_t above = 0;
  while (above < parts_.size() && parts_[above].lower < layers) ++above;
  return parts_.size() - above;
}

std::vector<MergedDir::Name> MergedDir::List(size_t count) const {
  std::vector<Name> names;
  std::set<std::string> seen;
  for (size_t layer = 0; layer < count; ++layer) {
    Dirents entries(parts_[layer].fd.get());
    for (;;) {
      std::vector<Dirents::Entry>& piece = entries.Next();
      if (piece.empty()) break;
      for (const Dirents::Entry& entry : piece) {
        if (count == 1 || seen.insert(entry.name).second) names.push_back({entry.name, layer});
      }
    }
    if (errno != 0) ThrowErrno(errno, "getdents64", parts_[layer].path);
  }
  return names;
}

}  // namespace layerstack
