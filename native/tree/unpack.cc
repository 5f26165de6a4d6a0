#include "tree/unpack.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/failure.h"
#include "sys/resolve.h"
#include "sys/whole_io.h"
#include "tree/holes.h"
#include "tree/member_fault.h"
#include "tree/member_path.h"
#include "tree/remove.h"

namespace layerstack {

namespace {

constexpr TarLimits kLimits{UINT64_MAX, PATH_MAX, 1 << 20};
constexpr int kAnyDirectory = O_RDONLY | O_DIRECTORY;
constexpr mode_t kSetIds = S_ISUID | S_ISGID;

[[noreturn]] void Invalid(const std::string& what) { ThrowInput("ERR_ARCHIVE_INVALID", what); }

// For a file that is not complete yet.
std::string TemporaryName() {
  uint64_t random = 0;
  if (Again<::getrandom>(&random, sizeof random, 0) != sizeof random) ThrowErrno(errno, "getrandom");
  return ".tmp-" + std::to_string(random);
}

}  // namespace

Unpacker::Unpacker(UnpackOptions options, ByteSource& source)
    : options_(std::move(options)),
      reader_(source, *this, kLimits, kArchiveCodes),
      bound_(options_.max_bytes) {
  root_.reset(Again<::open>(options_.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_) ThrowErrno(errno, "open", options_.root);
  if (OpenInRoot(root_.get(), options_.directory, kAnyDirectory)) return;
  if (errno != ENOTDIR) ThrowErrno(errno, "open", options_.directory);
  ThrowInput("ERR_PATH_TYPE", options_.directory + " is not a directory, so nothing can be extracted into it",
             {{"path", options_.directory}});
}

void Unpacker::Run() {
  TarMember member;
  while (reader_.Next(member)) {
    try {
      bound_.Take(member, reader_.Position());
      Apply(member);
    } catch (Failure& failure) {
      JudgeMember(failure, member.name, kArchiveCodes.invalid, parent_ ? parent_.get() : root_.get());
      throw;
    }
  }
  reader_.Trailing();
  SetDirectoryTimes();
}

void Unpacker::Apply(TarMember& member) {
  if (member.type == 'g') return;  // applies to nothing, as in dockerd
  if ((member.name + member.linkname).find('\0') != std::string::npos)
    Invalid("a member has a NUL byte in its name");
  std::optional<std::string> path = CleanMemberPath(member.name);
  if (!path) Invalid("'" + member.name + "' climbs out of the destination");
  if (path->empty()) {
    if (member.type != '5') Invalid("'" + member.name + "' is the destination itself, but not a directory");
    return;
  }
  Own(member);
  SplitPath split = SplitMemberPath(*path);
  const std::string& base = split.base;
  int parent = Parent(split.parent);
  switch (member.type) {
    case '0':
    case '7':
    case 'S': return RegularFile(parent, base, member);
    case '1': return HardLink(parent, base, member);
    case '2': {
      const char* target = LinkTargetOf(member);
      Place(parent, base, member, "symlink",
            [&] { return Again<::symlinkat>(target, parent, base.c_str()); });
      return Finish({parent, base.c_str()}, member);
    }
    case '3':
    case '4':
    case '6': Node(parent, base, member); return Finish({parent, base.c_str()}, member);
    case '5': return Directory(parent, base, *path, member);
    default: Invalid("'" + member.name + "' is of the unknown type '" + std::string(1, member.type) + "'");
  }
}

// A file that gets another owner must not keep the right to act as its owner.
void Unpacker::Own(TarMember& member) const {
  if (options_.owner == UnpackOptions::Owner::kCaller) member.mode &= ~static_cast<int64_t>(kSetIds);
  if (options_.owner != UnpackOptions::Owner::kFixed) return;
  member.uid = options_.uid;
  member.gid = options_.gid;
}

int Unpacker::Parent(const std::string& parent) {
  if (parent_path_ != parent) {
    parent_ = OpenInRoot(root_.get(), At(parent), kAnyDirectory);
    if (!parent_ && errno == ENOENT) parent_ = MakeDirectories(parent);
    if (!parent_) ThrowErrno(errno, "open", At(parent));
    parent_path_ = parent;
  }
  return parent_.get();
}

// Directories without a member of their own: dockerd makes them, with these modes.
UniqueFd Unpacker::MakeDirectories(const std::string& path) {
  UniqueFd dir = OpenInRoot(root_.get(), options_.directory, kAnyDirectory);
  for (size_t end = 0; dir && end != std::string::npos;) {
    size_t start = end == 0 ? 0 : end + 1;
    end = path.find('/', start);
    std::string base = path.substr(start, end - start);
    std::string at = At(path.substr(0, end));
    UniqueFd next = OpenInRoot(root_.get(), at, kAnyDirectory);
    if (!next && errno == ENOENT) {
      if (Again<::mkdirat>(dir.get(), base.c_str(), 0755) < 0 && errno != EEXIST)
        ThrowErrno(errno, "mkdir", at);
      next = OpenInRoot(root_.get(), at, kAnyDirectory);
      if (next && (options_.parents_uid != 0 || options_.parents_gid != 0))
        ChangeOwner({next.get()}, options_.parents_uid, options_.parents_gid);
      if (!next && errno == ENOENT) Invalid("'" + path + "' cannot be made: '" + at + "' is a dangling link");
    }
    if (!next) ThrowErrno(errno, "open", at);
    dir = std::move(next);
  }
  return dir;
}

// Removes the entry with the member's name, or refuses to.
void Unpacker::MakeRoom(int parent, const std::string& base, const TarMember& member) {
  struct stat status;
  if (Again<::fstatat>(parent, base.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno == ENOENT) return;
    ThrowErrno(errno, "stat");
  }
  bool is_directory = S_ISDIR(status.st_mode);
  if (options_.keep_kinds && is_directory != (member.type == '5')) {
    const char* what = is_directory ? "is a directory, and only a directory may replace it"
                                    : "is not a directory, and a directory may not replace it";
    ThrowInput("ERR_PATH_TYPE", "'" + member.name + "' in the destination " + what,
               {{"path", At(member.name)}});
  }
  if (is_directory) parent_path_.reset();  // that directory may be in the removed one
  RemoveTreeAt(parent, base, member.name);
}

template <typename Make>
void Unpacker::Place(int parent, const std::string& base, const TarMember& member, const char* syscall,
                     Make make) {
  if (make() >= 0) return;
  if (errno == EEXIST) {
    MakeRoom(parent, base, member);
    if (make() >= 0) return;
  }
  ThrowErrno(errno, syscall);
}

void Unpacker::Directory(int parent, const std::string& base, const std::string& path,
                         const TarMember& member) {
  auto open = [&] {
    return UniqueFd(Again<::openat>(parent, base.c_str(), kAnyDirectory | O_NOFOLLOW | O_CLOEXEC));
  };
  UniqueFd dir = open();
  if (!dir) {
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) ThrowErrno(errno, "open");
    Place(parent, base, member, "mkdir", [&] { return Again<::mkdirat>(parent, base.c_str(), 0700); });
    dir = open();
    if (!dir) ThrowErrno(errno, "open");
  }
  Finish({dir.get()}, member);
  DirectoryTimes& last = directories_.emplace_back();
  last.path = path;
  TimesOf(member, last.times);
}

void Unpacker::Node(int parent, const std::string& base, const TarMember& member) {
  mode_t type = NodeTypeOf(member);
  dev_t device = DeviceOf(member);
  Place(parent, base, member, "mknod", [&] {
    int made = Again<::mknodat>(parent, base.c_str(), type | 0600, device);
    if (made < 0 && errno == EPERM && type == S_IFCHR && device == 0)
      Invalid("'" + member.name +
              "' is the character device 0:0, which stands for a removed file in a container's file system");
    return made;
  });
}

void Unpacker::RegularFile(int parent, const std::string& base, const TarMember& member) {
  auto create = [&](const std::string& name) {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    return UniqueFd(Again<::openat>(parent, name.c_str(), kFlags, 0600));
  };
  std::string name = base;
  UniqueFd fd = create(name);
  if (!fd && errno == EEXIST) {
    struct stat status;
    bool replaces =
        Again<::fstatat>(parent, base.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(status.st_mode);
    if (replaces) {
      name = TemporaryName();
    } else {
      MakeRoom(parent, base, member);
    }
    fd = create(name);
  }
  if (!fd) ThrowErrno(errno, "open");
  try {
    WriteContent(fd.get(), member);
    Finish({fd.get()}, member);
    if (name != base && Again<::renameat>(parent, name.c_str(), parent, base.c_str()) < 0)
      ThrowErrno(errno, "rename");
  } catch (...) {
    Again<::unlinkat>(parent, name.c_str(), 0);
    throw;
  }
}

void Unpacker::WriteContent(int fd, const TarMember& member) {
  if (!member.sparse) {
    bool holes = false;
    for (std::string_view piece = reader_.Payload(); !piece.empty(); piece = reader_.Payload()) {
      if (!WriteAroundZeros(fd, piece, &holes)) ThrowErrno(errno, "write");
    }
    if (holes && Again<::ftruncate>(fd, static_cast<off_t>(member.size)) < 0) ThrowErrno(errno, "ftruncate");
    return;
  }
  for (const SparseFragment& fragment : *member.sparse) {
    if (Again<::lseek>(fd, fragment.offset, SEEK_SET) < 0) ThrowErrno(errno, "lseek");
    for (uint64_t left = static_cast<uint64_t>(fragment.length); left > 0;) {
      std::string_view piece = reader_.Payload(left);
      Write(fd, piece);
      left -= piece.size();
    }
  }
  if (Again<::ftruncate>(fd, static_cast<off_t>(member.size)) < 0) ThrowErrno(errno, "ftruncate");
}

// The inode has been finished under its first name.
void Unpacker::HardLink(int parent, const std::string& base, const TarMember& member) {
  const std::string what = "'" + member.name + "' is a hard link to '" + member.linkname + "', which ";
  std::optional<std::string> target = CleanMemberPath(member.linkname);
  if (member.linkname.empty()) Invalid(what + "names nothing");
  if (!target || target->empty()) Invalid(what + "is outside the destination");
  if (target == CleanMemberPath(member.name)) Invalid(what + "is itself");
  SplitPath from = SplitMemberPath(*target);
  UniqueFd dir = OpenInRoot(root_.get(), At(from.parent), O_PATH | O_DIRECTORY);
  struct stat status;
  bool found = dir && Again<::fstatat>(dir.get(), from.base.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (!found && errno == ENOENT) Invalid(what + "does not exist");
  if (!found) ThrowErrno(errno, "open", At(*target));
  if (S_ISDIR(status.st_mode)) Invalid(what + "is a directory");
  struct stat old;
  bool same = Again<::fstatat>(parent, base.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0 &&
              old.st_dev == status.st_dev && old.st_ino == status.st_ino;
  // Nothing is left to do. Making room could remove the only name of the inode.
  if (same) return;
  Place(parent, base, member, "link", [&] {
    int linked = Again<::linkat>(dir.get(), from.base.c_str(), parent, base.c_str(), 0);
    if (linked < 0 && errno == ENOENT) Invalid(what + "it would replace");
    return linked;
  });
}

void Unpacker::Finish(NodeRef node, const TarMember& member) {
  if (options_.owner != UnpackOptions::Owner::kCaller) ChangeOwner(node, OwnerOf(member), GroupOf(member));
  SetXattrs(node, member, warnings_);
  if (member.type != '2') ChangeMode(node, ModeOf(member));
  if (member.type != '5') ChangeTimes(node, member);
}

void Unpacker::SetDirectoryTimes() {
  for (const DirectoryTimes& directory : directories_) {
    UniqueFd fd = OpenInRoot(root_.get(), At(directory.path), kAnyDirectory | O_NOFOLLOW);
    if (fd && Again<::futimens>(fd.get(), directory.times) < 0) ThrowErrno(errno, "futimens", directory.path);
  }
}

}  // namespace layerstack
