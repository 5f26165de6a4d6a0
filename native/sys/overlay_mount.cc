#include "sys/overlay_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "sys/failure.h"
#include "sys/fs_context.h"
#include "sys/resolve.h"
#include "sys/store_entry.h"
#include "sys/syscalls.h"
#include "sys/thread_pool.h"
#include "sys/whole_io.h"

namespace layerstack {

namespace {

constexpr long kOverlayMagic = 0x794c7630;
constexpr std::string_view kShortNames = "l/";
constexpr size_t kShortNameLength = 26;
constexpr size_t kMaxLowerFile = 64 << 10;
constexpr char kStackLimit[] = "overlayfs cannot stack more";

// How many bytes of options mount(2) takes: a page less the final NUL.
size_t MountDataLimit() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)) - 1; }

[[noreturn]] void TooMany(const OverlayMount& mount, const std::string& why, size_t limit) {
  ThrowInput("ERR_LAYER_DEPTH",
             "cannot mount " + std::to_string(mount.lowers.size()) + " layers: " + why + ", " +
                 std::to_string(limit) + " fit",
             {{"path", mount.target}, {"limit", std::to_string(limit)}});
}

// The store's own names (ids and links) have no characters that options would have to escape. The two mount
// APIs escape them differently.
void CheckName(const OverlayMount& mount, const std::string& name) {
  if (name.empty() || name.find_first_of(std::string_view(",:\\\0", 4)) != std::string::npos)
    ThrowInput("ERR_INVALID_ARGUMENT", "a directory of an overlay must not have ',', ':' or '\\' in its name",
               {{"path", name.starts_with('/') ? name : mount.root + "/" + name}});
}

// Changes the thread's working directory while this object lives, then to `/`, so that an idle thread keeps
// no file system busy. Only for threads that have a working directory of their own.
class WorkingDirectory {
 public:
  explicit WorkingDirectory(const std::string& path) {
    if (::chdir(path.c_str()) != 0) ThrowErrno(errno, "chdir", path);
  }
  WorkingDirectory(const WorkingDirectory&) = delete;
  WorkingDirectory& operator=(const WorkingDirectory&) = delete;
  ~WorkingDirectory() { (void)!::chdir("/"); }
};

// Whether overlayfs takes the parameter. Throws any error that is not a refusal.
bool TakesParameter(FsContext& context, const char* key, const std::string& value) {
  if (context.SetString(key, value)) return true;
  if (errno != EINVAL) ThrowErrno(errno, "fsconfig");
  return false;
}

// Tried once. Before Linux 6.5 overlayfs takes any key at all and looks at it only when it mounts.
bool TakesLowerdirAppend() {
  static const bool takes = [] {
    FsContext context("overlay");
    return !TakesParameter(context, "layerstack", "unknown") && TakesParameter(context, "lowerdir+", "/");
  }();
  return takes;
}

// An empty directory, removed at the end. An overlay that uses it keeps it.
struct EmptyDirectory {
  EmptyDirectory() {
    if (::mkdtemp(path) == nullptr) ThrowErrno(errno, "mkdtemp", path);
  }
  EmptyDirectory(const EmptyDirectory&) = delete;
  EmptyDirectory& operator=(const EmptyDirectory&) = delete;
  ~EmptyDirectory() { ::rmdir(path); }

  char path[32] = "/tmp/layerstack-empty-XXXXXX";
};

class Mounter {
 public:
  explicit Mounter(OverlayMount mount) : mount_(std::move(mount)) {}

  void Run() {
    Prepare();
    if (mount_.upper.empty() && mount_.lowers.size() == 1) {
      mount_.read_only = true;
      if (mount_.method == MountMethod::kFlat) return BindReadOnly();
      // Without an upper, overlayfs wants two lowers. The mount point can be the second: the mount hides it.
      second_lower_ = BelowRoot(mount_.target);
      CheckName(mount_, second_lower_);
    }
    if (mount_.method != MountMethod::kFsconfig) return ByMount();
    UniqueFd fd = Create();
    if (!fd) return ByMount();
    if (!AttachMount(fd.get(), mount_.target)) ThrowErrno(errno, "move_mount", mount_.target);
  }

  UniqueFd Open() {
    Prepare();
    std::optional<EmptyDirectory> second;
    if (mount_.lowers.size() == 1) second_lower_ = second.emplace().path;
    UniqueFd fd = Create();
    if (!fd)
      TooMany(mount_, "fsconfig takes names of " + std::to_string(FsContext::kMaxString) + " bytes", 1);
    return fd;
  }

 private:
  void Prepare() {
    if (!mount_.lower_file.empty()) ReadLowers();
    if (mount_.lowers.empty()) ThrowInput("ERR_INVALID_ARGUMENT", "an overlay needs a lower directory");
    if (mount_.method == MountMethod::kFlat && mount_.lowers.size() != 1)
      TooMany(mount_, "this kernel mounts a single one", 1);
    CheckPlaces();
    Enter();
    // The names as the options will have them: absolute ones contain the store's own path.
    for (const std::string& lower : mount_.lowers) CheckName(mount_, lower);
    if (!mount_.upper.empty()) {
      CheckName(mount_, mount_.upper);
      CheckName(mount_, mount_.work);
    }
  }

  void ReadLowers() {
    const std::string path = mount_.root + "/" + mount_.lower_file;
    std::string text = ReadEntry(path, kMaxLowerFile).value_or("");
    text.erase(text.find_last_not_of(" \n") + 1);
    for (size_t start = 0; start <= text.size(); start += mount_.lowers.back().size() + 1) {
      mount_.lowers.push_back(text.substr(start, text.find(':', start) - start));
      if (!IsShortName(mount_.lowers.back()))
        ThrowInput("ERR_STORE_CORRUPT", path + " does not have the short names of layers", {{"path", path}});
    }
  }

  static bool IsShortName(const std::string& name) {
    return name.size() == kShortNames.size() + kShortNameLength && name.starts_with(kShortNames) &&
           name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", kShortNames.size()) ==
               std::string::npos;
  }

  // Overlayfs follows links, so no directory that it gets may be reached by one. The exception is a short
  // name of the store, `l/<name> -> ../<id>/diff`, which may lead nowhere else. The mount itself reports
  // missing directories.
  void CheckPlaces() {
    UniqueFd root(Again<::open>(mount_.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root) ThrowErrno(errno, "open", mount_.root);
    UniqueFd names;
    for (const std::string& lower : mount_.lowers) {
      if (!lower.starts_with(kShortNames)) {
        CheckPlace(root.get(), lower);
        continue;
      }
      if (!names) names = OpenShortNames(root.get());
      if (names) CheckShortName(root.get(), names.get(), lower);
    }
    if (mount_.upper.empty()) return;
    CheckPlace(root.get(), mount_.upper);
    CheckPlace(root.get(), mount_.work);
  }

  // Empty if the directory is missing, which the mount itself reports.
  UniqueFd OpenShortNames(int root) const {
    UniqueFd fd = OpenBeneathNoLinks(root, "l", O_PATH | O_DIRECTORY);
    if (!fd && errno == ELOOP) ThrowLink(root, mount_.root, "l");
    return fd;
  }

  void CheckPlace(int root, const std::string& path) {
    if (path.starts_with("../")) {
      UniqueFd above(Again<::openat>(root, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
      if (above) RefuseLinks(above.get(), mount_.root + "/..", path.substr(3));
    } else if (!path.starts_with('/')) {
      RefuseLinks(root, mount_.root, path);
    }
  }

  static void RefuseLinks(int base, const std::string& name, const std::string& path) {
    UniqueFd fd = OpenBeneathNoLinks(base, path, O_PATH | O_DIRECTORY);
    if (!fd && errno == ELOOP) ThrowLink(base, name, path);
  }

  // `names` is the directory of the short names.
  void CheckShortName(int root, int names, const std::string& lower) {
    const std::string name = lower.substr(kShortNames.size());
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
      ThrowShortName(lower);
    char target[PATH_MAX];
    ssize_t length = Again<::readlinkat>(names, name.c_str(), target, sizeof target);
    // The mount itself reports a missing name.
    if (length < 0 && errno == ENOENT) return;
    const std::string_view text(target, length < 0 ? 0 : static_cast<size_t>(length));
    static constexpr std::string_view kUp = "../", kDiff = "/diff";
    size_t end = text.size() > kUp.size() + kDiff.size() ? text.size() - kDiff.size() : 0;
    const std::string_view id = end == 0 ? "" : text.substr(kUp.size(), end - kUp.size());
    if (end == 0 || !text.starts_with(kUp) || !text.ends_with(kDiff) || id == "." || id == ".." ||
        id.find('/') != std::string::npos)
      ThrowShortName(lower);
    RefuseLinks(root, mount_.root, std::string(text.substr(kUp.size())));
  }

  [[noreturn]] void ThrowShortName(const std::string& lower) const {
    ThrowInput("ERR_STORE_CORRUPT",
               mount_.root + "/" + lower +
                   " does not lead to a layer's ../ID/diff: `fsck --repair` repairs short names",
               {{"path", mount_.root + "/" + lower}});
  }

  // Makes names relative to `root` by changing the directory, or makes them absolute.
  void Enter() {
    if (ThreadIsIsolated()) {
      directory_.emplace(mount_.root);
      return;
    }
    const std::string base = mount_.root + "/";
    for (std::string& lower : mount_.lowers) lower.insert(0, base);
    if (!mount_.upper.empty()) {
      mount_.upper.insert(0, base);
      mount_.work.insert(0, base);
    }
  }

  // A mount that is attached nowhere. None if this kernel's fsconfig cannot take so many lowers.
  UniqueFd Create() {
    for (;;) {
      try {
        return CreateOnce();
      } catch (const Failure& failure) {
        if (failure.errnum != EINTR) throw;
      }
    }
  }

  UniqueFd CreateOnce() {
    if (mount_.lowers.size() > kMaxLowers) TooMany(mount_, kStackLimit, kMaxLowers);
    FsContext context("overlay");
    Check(context, context.SetString("source", "overlay"));
    for (const std::string& option : mount_.options) Check(context, context.SetOption(option));
    if (!AddLowers(context)) return {};
    if (!mount_.upper.empty()) {
      Check(context, context.SetString("upperdir", mount_.upper), mount_.upper);
      Check(context, context.SetString("workdir", mount_.work), mount_.work);
    }
    if (mount_.read_only) Check(context, context.SetFlag("ro"));
    UniqueFd fd = context.Create(mount_.read_only);
    Check(context, static_cast<bool>(fd));
    return fd;
  }

  // False if this kernel's fsconfig cannot take so many.
  bool AddLowers(FsContext& context) {
    std::vector<std::string> lowers = mount_.lowers;
    if (!second_lower_.empty()) lowers.push_back(second_lower_);
    if (TakesLowerdirAppend()) {
      for (const std::string& lower : lowers) Check(context, context.SetString("lowerdir+", lower), lower);
    } else {
      std::string joined = Join(lowers);
      if (joined.size() > FsContext::kMaxString) return false;
      Check(context, context.SetString("lowerdir", joined));
    }
    return true;
  }

  void Check(FsContext& context, bool ok, const std::string& name = {}) {
    if (ok) return;
    Failure failure = Failure::System(errno, "fsconfig", name.empty() ? mount_.target : Full(name));
    if (std::string log = context.Log(); !log.empty()) failure.message += " (" + log + ")";
    throw failure;
  }

  std::string Full(const std::string& name) const {
    return name.starts_with('/') ? name : mount_.root + "/" + name;
  }

  static std::string Join(const std::vector<std::string>& names) {
    std::string joined;
    for (const std::string& name : names) {
      if (!joined.empty()) joined += ':';
      joined += name;
    }
    return joined;
  }

  void ByMount() {
    std::vector<std::string> lowers = mount_.lowers;
    if (!second_lower_.empty()) lowers.push_back(second_lower_);
    std::string rest;
    if (!mount_.upper.empty()) rest = ",upperdir=" + mount_.upper + ",workdir=" + mount_.work;
    std::string data;
    for (const std::string& option : mount_.options) data += option + ",";
    data += "lowerdir=";
    CheckFits(data.size() + rest.size());
    data += Join(lowers) + rest;
    unsigned long flags = mount_.read_only ? MS_RDONLY : 0;
    if (Again<::mount>("overlay", mount_.target.c_str(), "overlay", flags, data.c_str()) != 0)
      ThrowErrno(errno, "mount", mount_.target);
  }

  void CheckFits(size_t others) {
    const size_t limit = MountDataLimit();
    size_t used = others, fit = 0;
    for (const std::string& lower : mount_.lowers) {
      used += lower.size() + (fit > 0 ? 1 : 0);
      if (fit == kMaxLowers) TooMany(mount_, kStackLimit, fit);
      if (used > limit)
        TooMany(mount_, "mount options are limited to " + std::to_string(limit) + " bytes", fit);
      ++fit;
    }
  }

  // A single merged lower can be shown without an overlay.
  void BindReadOnly() {
    const char* target = mount_.target.c_str();
    if (Again<::mount>(mount_.lowers[0].c_str(), target, nullptr, MS_BIND, nullptr) != 0)
      ThrowErrno(errno, "mount", mount_.root + "/" + mount_.lowers[0], mount_.target);
    if (Again<::mount>(nullptr, target, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
      int error = errno;
      Again<::umount2>(target, MNT_DETACH | UMOUNT_NOFOLLOW);
      ThrowErrno(error, "mount", mount_.target);
    }
  }

  // Returns the path relative to `root` where such paths can be used.
  std::string BelowRoot(const std::string& path) const {
    const std::string base = mount_.root + "/";
    return directory_ && path.starts_with(base) ? path.substr(base.size()) : path;
  }

  OverlayMount mount_;
  std::optional<WorkingDirectory> directory_;
  std::string second_lower_;
};

// The id of the mount that an O_PATH fd is on, from /proc (Linux 3.15). -1 if it is not known.
long MountId(int fd) {
  UniqueFd info(Again<::open>(("/proc/self/fdinfo/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!info || !ReadAll(info.get(), 4096, &text)) return -1;
  size_t at = text.find("mnt_id:");
  return at == std::string::npos ? -1 : std::stol(text.substr(at + 7));
}

bool IsMountRoot(int fd, const std::string& path) {
  struct statx st;
  if (Again<::statx>(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, 0, &st) == 0 &&
      (st.stx_attributes_mask & kStatxAttrMountRoot))
    return (st.stx_attributes & kStatxAttrMountRoot) != 0;
  size_t slash = path.rfind('/');
  std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  UniqueFd parent_fd(Again<::open>(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  return parent_fd && MountId(fd) != MountId(parent_fd.get());
}

}  // namespace

void MountOverlay(const OverlayMount& mount) { Mounter(mount).Run(); }

UniqueFd OpenOverlay(const std::string& root, const std::vector<std::string>& lowers) {
  OverlayMount mount;
  mount.root = root;
  mount.lowers = lowers;
  mount.read_only = true;
  return Mounter(std::move(mount)).Open();
}

bool Unmount(const std::string& target, bool detach) {
  if (Again<::umount2>(target.c_str(), UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)) == 0) return true;
  if (errno == EINVAL || errno == ENOENT) return false;
  ThrowErrno(errno, "umount2", target);
}

bool UnmountBehind(const std::string& target) {
  auto held = std::make_shared<UniqueFd>(
      Again<::open>(target.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!*held && errno != ENOENT) ThrowErrno(errno, "open", target);
  if (!Unmount(target, true)) return false;
  try {
    RunOnOwnThread([held] { held->reset(); });
  } catch (const Failure&) {
    // Without a thread it ends here, when `held` does.
  }
  return true;
}

void SetMountReadOnly(const std::string& target, bool read_only) {
  MountAttr change = {};
  (read_only ? change.attr_set : change.attr_clr) = kMountAttrRdonly;
  const long result = Again<::syscall>(kSysMountSetattr, AT_FDCWD, target.c_str(), AT_SYMLINK_NOFOLLOW,
                                       &change, sizeof change);
  if (result == 0) return;
  if (errno != ENOSYS && errno != EPERM) ThrowErrno(errno, "mount_setattr", target);
  // Before Linux 5.12. This call also sets the other flags to their defaults, which the mount has.
  const unsigned long flags = MS_REMOUNT | MS_BIND | (read_only ? MS_RDONLY : 0);
  if (Again<::mount>(nullptr, target.c_str(), nullptr, flags, nullptr) != 0)
    ThrowErrno(errno, "mount", target);
}

void SetFileSystemReadOnly(const std::string& target) {
  if (Again<::mount>(nullptr, target.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0)
    ThrowErrno(errno, "mount", target);
}

MountState StateOf(const std::string& path) {
  UniqueFd fd(Again<::open>(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR) return MountState::kNone;
    ThrowErrno(errno, "open", path);
  }
  if (!IsMountRoot(fd.get(), path)) return MountState::kNone;
  struct statfs fs;
  if (Again<::fstatfs>(fd.get(), &fs) != 0) ThrowErrno(errno, "statfs", path);
  return fs.f_type == kOverlayMagic ? MountState::kOverlay : MountState::kOther;
}

}  // namespace layerstack
