#include "sys/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/fs_context.h"
#include "sys/lock.h"
#include "sys/resolve.h"

namespace layerstack {

namespace {

// The names that `docker info` gives for the backing file system.
struct FsName {
  unsigned long magic;
  const char* name;
};
constexpr FsName kFsNames[] = {
    {0xef53, "extfs"},         {0x58465342, "xfs"},  {0x9123683e, "btrfs"},    {0x01021994, "tmpfs"},
    {0x794c7630, "overlayfs"}, {0x2fc12fc1, "zfs"},  {0xf2f52010, "f2fs"},     {0x6969, "nfs"},
    {0xff534d42, "cifs"},      {0x65735546, "fuse"}, {0x52654973, "reiserfs"}, {0xca451a4e, "bcachefs"},
};

std::string FsType(const std::string& path) {
  struct statfs fs;
  if (Again<::statfs>(path.c_str(), &fs) != 0) return "unknown";
  for (const FsName& entry : kFsNames) {
    if (static_cast<unsigned long>(fs.f_type) == entry.magic) return entry.name;
  }
  char hex[32];
  std::snprintf(hex, sizeof hex, "0x%lx", static_cast<unsigned long>(fs.f_type));
  return hex;
}

bool HaveSysAdmin() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_SYS_ADMIN / 32].effective >> (CAP_SYS_ADMIN % 32)) & 1;
}

std::string ModuleParameter(const char* name) {
  UniqueFd fd(
      Again<::open>((std::string("/sys/module/overlay/parameters/") + name).c_str(), O_RDONLY | O_CLOEXEC));
  char value[8] = {};
  if (!fd || Again<::read>(fd.get(), value, sizeof value - 1) <= 0) return "";
  return std::string(1, value[0]);
}

// Whether the error is a refusal: this kernel or file system does not have the feature, or does not allow it
// to this process. Other errors (EIO, EMFILE, ENOMEM, ...) do not say what they can do.
bool IsRefusal(int errnum) {
  switch (errnum) {
    case ENOSYS:
    case EINVAL:
    case EPERM:
    case EACCES:
    case ENODEV:
    case EOPNOTSUPP: return true;
    default: return false;
  }
}

// The answer of a trial that ended with `done`. Throws an error that is not a refusal.
bool Answer(bool done, const char* syscall, const std::string& path) {
  if (!done && !IsRefusal(errno)) ThrowErrno(errno, syscall, path);
  return done;
}

// The directory is locked while it is in use. One without a lock was left by a process that died.
class Scratch {
 public:
  explicit Scratch(const std::string& dir) {
    for (;;) {
      path_ = dir + "/.probe-XXXXXX";
      if (!::mkdtemp(path_.data())) ThrowErrno(errno, "mkdtemp", path_);
      lock_.reset(Again<::open>(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!lock_ && errno != ENOENT) ThrowErrno(errno, "open", path_);
      struct stat st;
      // Else another process removed it before it was locked.
      if (lock_ && TryFlock(lock_.get(), true) && Again<::fstat>(lock_.get(), &st) == 0 && st.st_nlink > 0)
        return;
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    // The kernel makes `work` and `index` in the work directory.
    for (const char* name :
         {"file", "whiteout", "a", "b", "merged", "upper", "work/work", "work/index", "work"})
      std::remove((*this / name).c_str());
    Again<::rmdir>(path_.c_str());
  }
  int fd() const { return lock_.get(); }
  std::string operator/(const char* name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  UniqueFd lock_;
};

void MakeDirectory(const std::string& path) {
  if (Again<::mkdir>(path.c_str(), 0700) != 0) ThrowErrno(errno, "mkdir", path);
}

void ProbeFiles(const Scratch& scratch, Probe* probe) {
  const std::string file = scratch / "file";
  UniqueFd made(Again<::open>(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!made) ThrowErrno(errno, "open", file);
  probe->trusted_xattr =
      Answer(Again<::fsetxattr>(made.get(), "trusted.overlay.x", "y", 1, 0) == 0, "fsetxattr", file);
  // A new descriptor: since Linux 6.5, btrfs lists only entries that are older than the open directory.
  UniqueFd directory(Again<::openat>(scratch.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) ThrowErrno(errno, "open", scratch.path());
  Dirents entries(directory.get());
  for (const Dirents::Entry& entry : entries.Next()) probe->d_type |= entry.type == DT_REG;
  if (errno != 0) ThrowErrno(errno, "getdents64", scratch.path());
  const std::string whiteout = scratch / "whiteout";
  probe->whiteouts = Answer(Again<::mknod>(whiteout.c_str(), S_IFCHR, makedev(0, 0)) == 0, "mknod", whiteout);
}

// Whether fsconfig gives a mount of these lowers. Read-only, since taking a writable overlay away syncs the
// whole file system of its upper.
bool TryContext(const Scratch& scratch, bool append) {
  try {
    FsContext context("overlay");
    const std::string a = scratch / "a", b = scratch / "b";
    return Answer((append ? context.SetString("lowerdir+", a) && context.SetString("lowerdir+", b)
                          : context.SetString("lowerdir", a + ":" + b)) &&
                      context.SetString("upperdir", scratch / "upper") &&
                      context.SetString("workdir", scratch / "work") && context.SetFlag("ro") &&
                      static_cast<bool>(context.Create(true)),
                  "fsconfig", scratch.path());
  } catch (const Failure& failure) {
    if (failure.errnum == EINTR) return TryContext(scratch, append);
    if (!IsRefusal(failure.errnum)) throw;
    return false;
  }
}

bool TryMount(const Scratch& scratch, bool two) {
  std::string data = "lowerdir=" + scratch / "a";
  if (two) data.append(":").append(scratch / "b");
  data.append(",upperdir=" + scratch / "upper" + ",workdir=" + scratch / "work");
  const bool done =
      Again<::mount>("overlay", (scratch / "merged").c_str(), "overlay", MS_RDONLY, data.c_str()) == 0;
  // A kernel that takes a single lower looks for a directory whose name is both names.
  if (!done && two && errno == ENOENT) return false;
  return Answer(done, "mount", scratch.path());
}

// Before the new mount API, a mount must be attached to be tried. The namespace of this thread ends with it.
void ProbeOldMount(const Scratch& scratch, Probe* probe) {
  MakeDirectory(scratch / "merged");
  std::exception_ptr failed;
  std::thread([&] {
    try {
      if (!Answer(Again<::unshare>(CLONE_NEWNS) == 0, "unshare", scratch.path()) ||
          !Answer(Again<::mount>(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mount", "/"))
        return;
      probe->multiple_lowers = TryMount(scratch, true);
      if (probe->multiple_lowers) Again<::umount2>((scratch / "merged").c_str(), MNT_DETACH);
      probe->overlay = probe->multiple_lowers || TryMount(scratch, false);
    } catch (const Failure&) {
      failed = std::current_exception();
    }
  }).join();
  if (failed) std::rethrow_exception(failed);
}

void ProbeOverlay(const Scratch& scratch, Probe* probe) {
  for (const char* name : {"a", "b", "upper", "work"}) MakeDirectory(scratch / name);
  if (!probe->sys_admin) return;
  probe->lowerdir_append = HaveMoveMount() && TryContext(scratch, true);
  if (probe->lowerdir_append) {
    probe->new_mount_api = probe->overlay = probe->multiple_lowers = true;
    return;
  }
  probe->new_mount_api = HaveMoveMount() && TryContext(scratch, false);
  probe->overlay = probe->multiple_lowers = probe->new_mount_api;
  if (!probe->overlay) ProbeOldMount(scratch, probe);
}

}  // namespace

Probe ProbeBelow(const std::string& dir) {
  Probe probe;
  utsname name;
  if (::uname(&name) == 0) probe.kernel = name.release;
  probe.uid = ::geteuid();
  probe.sys_admin = HaveSysAdmin();
  probe.fs_type = FsType(dir);
  probe.openat2 = UsesOpenat2();
  {
    Scratch scratch(dir);
    ProbeFiles(scratch, &probe);
    ProbeOverlay(scratch, &probe);
  }
  // Read last: the trial mount may have loaded the module.
  probe.index_parameter = !ModuleParameter("index").empty();
  probe.redirect_dir = ModuleParameter("redirect_dir") == "Y";
  probe.metacopy = ModuleParameter("metacopy") == "Y";
  return probe;
}

}  // namespace layerstack
