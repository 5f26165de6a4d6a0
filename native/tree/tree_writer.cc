#include "tree/tree_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "sys/failure.h"
#include "sys/thread_pool.h"
#include "sys/xattrs.h"
#include "tree/content_size.h"
#include "tree/member_path.h"
#include "tree/metadata.h"

namespace layerstack {

namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr char kOpaqueMarker[] = ".wh..wh..opq";
constexpr char kDefaultAcl[] = "system.posix_acl_default";
constexpr char kAccessAcl[] = "system.posix_acl_access";  // sets the mode too

UniqueFd OpenRoot(const std::string& path) {
  UniqueFd fd(Again<::open>(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) ThrowErrno(errno, "open", path);
  return fd;
}

UniqueFd Duplicate(int fd) {
  UniqueFd copy(Again<::fcntl>(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) ThrowErrno(errno, "fcntl");
  return copy;
}

bool HasXattr(const TarMember& member, const char* wanted) {
  for (const auto& [name, value] : member.xattrs) {
    if (name == wanted) return true;
  }
  return false;
}

}  // namespace

TreeWriter::TreeWriter(const std::string& diff, const TarSplitWriter& tar_split, Warnings& warnings)
    : tar_split_(tar_split),
      root_(OpenRoot(diff)),
      dirs_(Duplicate(root_.get())),
      replaced_(diff),
      warnings_(warnings),
      creates_as_root_(::geteuid() == 0 && ::getegid() == 0),
      // A umask or a default ACL takes bits from the mode of a new file.
      exact_modes_(ThreadIsIsolated() && !GetXattr(root_.get(), kDefaultAcl, diff)) {}

CachedDir& TreeWriter::Parent(const std::string& parent, bool* through_link) {
  DirCache::Found found = dirs_.Open(parent, true);
  if (through_link != nullptr) *through_link = found.through_link;
  found.dir->changed = true;
  return *found.dir;
}

void TreeWriter::MakeRoom(CachedDir& dir, const std::string& base) {
  contents_.Drain();  // whether a file is kept depends on its size
  const char* name = base.c_str();
  struct stat status;
  if (Again<::fstatat>(dir.fd.get(), name, &status, AT_SYMLINK_NOFOLLOW) < 0) ThrowErrno(errno, "stat", base);
  replaced_any_ = true;
  std::string path = dir.path.empty() ? base : dir.path + "/" + base;
  if (S_ISDIR(status.st_mode)) {
    dirs_.Forget(path);
    if (Again<::unlinkat>(dir.fd.get(), name, AT_REMOVEDIR) == 0) return;
    if (errno != ENOTEMPTY && errno != EEXIST) ThrowErrno(errno, "rmdir", path);
  } else if (!S_ISREG(status.st_mode) || status.st_size == 0) {
    if (Again<::unlinkat>(dir.fd.get(), name, 0) < 0) ThrowErrno(errno, "unlink", path);
    return;
  }
  replaced_.Add(dir.fd.get(), name, path, tar_split_.FileEntries());
}

template <typename Make>
void TreeWriter::Place(CachedDir& dir, const std::string& base, const char* syscall, Make make) {
  if (make() >= 0) return;
  if (errno == EEXIST) {
    MakeRoom(dir, base);
    if (make() >= 0) return;
  }
  ThrowErrno(errno, syscall);
}

// New files are 0:0, unless the directory hands its group down (setgid, or the file system's grpid option).
bool TreeWriter::NeedsOwner(const TarMember& member, const CachedDir& dir) const {
  return OwnerOf(member) != 0 || GroupOf(member) != 0 || dir.gid != 0 || !creates_as_root_;
}

// `special`: bits that chown or creation may have taken away.
bool TreeWriter::NeedsMode(const TarMember& member, mode_t special) const {
  return !exact_modes_ || (ModeOf(member) & special) || HasXattr(member, kAccessAcl);
}

void TreeWriter::Directory(const TarMember& member, const std::string& path) {
  SplitPath split = SplitMemberPath(path);
  bool through_link;
  CachedDir& parent = Parent(split.parent, &through_link);
  const char* name = split.base.c_str();
  mode_t mode = ModeOf(member);
  bool fresh = true;
  auto make = [&] { return Again<::mkdirat>(parent.fd.get(), name, mode); };
  if (make() < 0) {
    if (errno != EEXIST) ThrowErrno(errno, "mkdir");
    struct stat status;
    if (Again<::fstatat>(parent.fd.get(), name, &status, AT_SYMLINK_NOFOLLOW) < 0) ThrowErrno(errno, "stat");
    fresh = !S_ISDIR(status.st_mode);
    if (fresh) Place(parent, split.base, "mkdir", make);
  }
  bool chmod = !fresh || NeedsMode(member, 06000) || parent.set_gid;
  bool chown = !fresh || NeedsOwner(member, parent);
  // By the parent's real path: the name may lead through a link.
  CachedDir& dir = *dirs_.Open(parent.path.empty() ? split.base : parent.path + "/" + split.base, false).dir;
  NodeRef node{dir.fd.get()};
  if (chown) ChangeOwner(node, OwnerOf(member), GroupOf(member));
  SetXattrs(node, member, warnings_);
  if (HasXattr(member, kDefaultAcl)) exact_modes_ = false;
  if (chmod) ChangeMode(node, mode);
  if (chown) dir.gid = GroupOf(member);
  dir.set_gid = mode & S_ISGID;
  TimesOf(member, dir.times);
  dir.changed = true;
}

void TreeWriter::RootDirectory(const TarMember& member) {
  NodeRef node{root_.get()};
  ChangeOwner(node, OwnerOf(member), GroupOf(member));
  SetXattrs(node, member, warnings_);
  if (HasXattr(member, kDefaultAcl)) exact_modes_ = false;
  ChangeMode(node, ModeOf(member));
  CachedDir& dir = *dirs_.Open("", false).dir;
  dir.gid = GroupOf(member);
  dir.set_gid = ModeOf(member) & S_ISGID;
  TimesOf(member, root_times_);
  root_dated_ = true;
}

TreeWriter::File TreeWriter::CreateFile(const TarMember& member, const std::string& path, UniqueFd clone) {
  SplitPath split = SplitMemberPath(path);
  File file;
  CachedDir& dir = Parent(split.parent, &file.through_link);
  content_size_ += member.size;
  if (clone) {
    std::string inode = "/proc/self/fd/" + std::to_string(clone.get());
    Place(dir, split.base, "linkat", [&] {
      return Again<::linkat>(AT_FDCWD, inode.c_str(), dir.fd.get(), split.base.c_str(), AT_SYMLINK_FOLLOW);
    });
    file.fd = std::move(clone);
    file.needs_chown = file.needs_chmod = true;
    return file;
  }
  Place(dir, split.base, "open", [&] {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    auto open = [&] { return Again<::openat>(dir.fd.get(), split.base.c_str(), kFlags, ModeOf(member)); };
    file.fd.reset(open());
    if (!file.fd && (errno == EMFILE || errno == ENFILE)) {
      contents_.Drain();  // closes its own
      file.fd.reset(open());
    }
    return file.fd.get();
  });
  file.needs_chown = NeedsOwner(member, dir);
  file.needs_chmod = NeedsMode(member, 07000);
  return file;
}

void TreeWriter::FinishNamed(const TarMember& member, const CachedDir& dir, const std::string& base,
                             bool has_mode) {
  NodeRef node{dir.fd.get(), base.c_str()};
  bool chown = NeedsOwner(member, dir);
  if (chown) ChangeOwner(node, OwnerOf(member), GroupOf(member));
  SetXattrs(node, member, warnings_);
  if (has_mode && (chown || NeedsMode(member, 07000))) ChangeMode(node, ModeOf(member));
  ChangeTimes(node, member);
}

void TreeWriter::Symlink(const TarMember& member, const std::string& path) {
  const char* target = LinkTargetOf(member);
  SplitPath split = SplitMemberPath(path);
  CachedDir& dir = Parent(split.parent);
  Place(dir, split.base, "symlink",
        [&] { return Again<::symlinkat>(target, dir.fd.get(), split.base.c_str()); });
  content_size_ += member.linkname.size();
  FinishNamed(member, dir, split.base, false);
}

void TreeWriter::Device(const TarMember& member, const std::string& path) {
  mode_t kind = NodeTypeOf(member);
  dev_t device = DeviceOf(member);
  SplitPath split = SplitMemberPath(path);
  CachedDir& dir = Parent(split.parent);
  Place(dir, split.base, "mknod",
        [&] { return Again<::mknodat>(dir.fd.get(), split.base.c_str(), kind | ModeOf(member), device); });
  FinishNamed(member, dir, split.base, true);
}

void TreeWriter::HardLink(const TarMember& member, const std::string& path) {
  std::optional<std::string> target = CleanMemberPath(member.linkname);
  if (!target) {
    ThrowInput("ERR_LAYER_ESCAPE", "'" + member.name + "' is a hard link to '" + member.linkname +
                                       "', which is outside the layer");
  }
  auto missing = [&](const char* why) {
    ThrowInput("ERR_LAYER_INVALID",
               "'" + member.name + "' is a hard link to '" + member.linkname + "', which " + why);
  };
  if (target->empty()) missing(member.linkname.empty() ? "names nothing" : "is the root");
  SplitPath from = SplitMemberPath(*target);
  SplitPath to = SplitMemberPath(path);
  // The replaced entry may be the link's target or a directory above it. Then the target is gone.
  auto link = [&] {
    UniqueFd target_dir = Duplicate(dirs_.Open(from.parent, false).dir->fd.get());
    CachedDir& dir = Parent(to.parent);
    return Again<::linkat>(target_dir.get(), from.base.c_str(), dir.fd.get(), to.base.c_str(), 0);
  };
  int result = link();
  if (result < 0 && errno == EEXIST) {
    MakeRoom(Parent(to.parent), to.base);
    result = link();
  }
  if (result < 0 && errno == ENOENT) missing("is not in this layer");
  if (result < 0 && errno == EPERM) missing("cannot be linked to");
  if (result < 0) ThrowErrno(errno, "link");

  // A link's header sets the attributes of the shared inode, as every header does. The last one wins.
  contents_.Drain();
  CachedDir& dir = Parent(to.parent);
  NodeRef node{dir.fd.get(), to.base.c_str()};
  struct stat status;
  if (Again<::fstatat>(node.fd, node.name, &status, AT_SYMLINK_NOFOLLOW) < 0) ThrowErrno(errno, "stat");
  ChangeOwner(node, OwnerOf(member), GroupOf(member));
  SetXattrs(node, member, warnings_);
  if (S_ISLNK(status.st_mode)) return;
  ChangeMode(node, ModeOf(member));
  ChangeTimes(node, member);
}

void TreeWriter::Whiteout(const TarMember& member, const std::string& path) {
  SplitPath split = SplitMemberPath(path);
  if (split.base == kOpaqueMarker) {
    SetXattr(Parent(split.parent).fd.get(), "trusted.overlay.opaque", "y", split.parent);
    return;
  }
  std::string name = split.base.substr(kWhiteout.size());
  if (name.empty() || name == "." || name == "..")
    ThrowInput("ERR_LAYER_INVALID", "'" + member.name + "' is a whiteout of a name that cannot exist");
  CachedDir& dir = Parent(split.parent);
  if (Again<::mknodat>(dir.fd.get(), name.c_str(), S_IFCHR, ::makedev(0, 0)) < 0) {
    if (errno != EEXIST) ThrowErrno(errno, "mknod");
    ThrowInput("ERR_LAYER_INVALID", "'" + member.name + "' removes what the same layer has put there");
  }
  if (NeedsOwner(member, dir)) ChangeOwner({dir.fd.get(), name.c_str()}, OwnerOf(member), GroupOf(member));
}

void TreeWriter::Finish() {
  contents_.Drain();
  warnings_.Append(contents_.TakeWarnings());
  dirs_.Clear();
  if (root_dated_ && ::futimens(root_.get(), root_times_) < 0) ThrowErrno(errno, "futimens");
}

uint64_t TreeWriter::ContentSize() {
  return replaced_any_ ? layerstack::ContentSize(root_.get()) : content_size_;
}

}  // namespace layerstack
