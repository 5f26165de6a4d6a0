#include "tree/copy_in.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "sys/dirents.h"
#include "sys/failure.h"
#include "sys/resolve.h"
#include "tree/archive_file.h"
#include "tree/path_stat.h"
#include "tree/unpack.h"

namespace layerstack {

namespace {

constexpr size_t kCopyPiece = 256 << 10;
constexpr uint64_t kMostExtracted = uint64_t{16} << 40;  // the largest file of ext4, holes included
constexpr mode_t kNewDirectory = 0755;
constexpr int kRealDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

UniqueFd OpenCopyRoot(const std::string& root) {
  UniqueFd fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) ThrowErrno(errno, "open", root);
  return fd;
}

// Makes the directories of a canonical path that are missing, as dockerd does.
void MakeCanonicalDirectories(int root, const std::string& path, FileOwner owner) {
  UniqueFd parent = OpenInRoot(root, "/", O_RDONLY | O_DIRECTORY);
  for (size_t start = 1; parent && start < path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string name = path.substr(start, end - start);
    UniqueFd next(Again<::openat>(parent.get(), name.c_str(), kRealDirectory));
    if (!next && errno == ENOENT) {
      if (Again<::mkdirat>(parent.get(), name.c_str(), kNewDirectory) < 0) ThrowErrno(errno, "mkdir", path);
      next.reset(Again<::openat>(parent.get(), name.c_str(), kRealDirectory));
      if (next && Again<::fchown>(next.get(), owner.uid, owner.gid) < 0) ThrowErrno(errno, "chown", path);
    }
    parent = std::move(next);
    start = end + 1;
  }
  if (!parent) ThrowErrno(errno, "mkdir", path);
}

void CheckAborted(const std::atomic<bool>& aborted) {
  if (aborted) ThrowInput("ERR_ABORTED", "the copy was aborted");
}

class TarOfSource : public ByteSource {
 public:
  TarOfSource(LayerTar& tar, const std::atomic<bool>& aborted)
      : tar_(tar), aborted_(aborted), buffer_(new char[kCopyPiece]) {}

  std::string_view Next() override {
    Check();
    return {buffer_.get(), tar_.Read(buffer_.get(), kCopyPiece)};
  }
  void Check() override { CheckAborted(aborted_); }

 private:
  LayerTar& tar_;
  const std::atomic<bool>& aborted_;
  std::unique_ptr<char[]> buffer_;
};

class Copy {
 public:
  Copy(const CopyInOptions& options, const CopyTarget* target)
      : options_(options),
        target_(target),
        root_(OpenCopyRoot(options.root)),
        rules_(options.rules),
        excludes_(options.excludes) {
    if (!target) return;
    target_root_ = OpenCopyRoot(target->root);
    target_path_ = CanonicalInRoot(target_root_.get(), target->path);
  }

  CopiedIn Run() {
    for (const CopySource& source : options_.sources) {
      CheckAborted(*options_.aborted);
      One(source);
    }
    copied_.digest = sum_.HexDigest();
    return std::move(copied_);
  }

 private:
  struct Source {
    std::string path;  // canonical, without a leading slash
    std::string name;  // of what is copied; "." for the content of a directory
    UniqueFd fd;       // O_PATH
    bool is_directory;
    bool excluded;  // a directory whose content may be taken back in
  };

  // Where a source goes: a name in a directory.
  struct Place {
    std::string directory;
    std::string name;
  };

  // ENOENT where the rules exclude it: for a build, such a file does not exist.
  Source Open(const CopySource& wanted) const {
    Source source;
    source.path = CanonicalInRoot(root_.get(), "/" + wanted.path).substr(1);
    source.fd = OpenInRoot(root_.get(), source.path, O_PATH | O_NOFOLLOW);
    struct stat status;
    if (!source.fd || Again<::fstat>(source.fd.get(), &status) < 0) ThrowErrno(errno, "stat", wanted.path);
    if (S_ISLNK(status.st_mode)) ThrowErrno(ELOOP, "stat", wanted.path);
    source.is_directory = S_ISDIR(status.st_mode);
    source.name = source.is_directory && !options_.keep_names ? "." : wanted.name;
    source.excluded = rules_.Excludes(source.path) || rules_.Excludes(wanted.path);
    if (source.excluded && !(source.is_directory && rules_.HasExceptions()))
      ThrowErrno(ENOENT, "stat", wanted.path);
    return source;
  }

  void One(const CopySource& wanted) {
    const Source source = Open(wanted);
    if (!source.is_directory && excludes_.Excludes(source.name)) return;
    const UniqueFd archive = options_.extract && !source.is_directory ? OpenArchive(source) : UniqueFd();
    Place place{"", source.name};
    if (target_) place = PlaceOf(source, static_cast<bool>(archive));

    LayerTarOptions options;
    options.kind = TreeKind::kView;
    options.cross_mounts = true;
    options.sparse = true;
    options.owner = options_.owner;
    options.mode = options_.mode;
    options.sum = std::make_shared<Sha256>();
    uint64_t members = 0;
    options.choose = [&](const std::string& name, bool is_directory) {
      const Taken taken =
          Choose(source, name.substr(std::min(place.name.size() + 1, name.size())), is_directory);
      if (taken == Taken::kAll) ++members;
      return taken;
    };
    LayerTar tar(options_.root, "/" + source.path, place.name, options);
    TarOfSource bytes(tar, *options_.aborted);
    if (target_ && !archive) {
      MakeCanonicalDirectories(target_root_.get(), place.directory, options_.owner.value_or(FileOwner{}));
      Unpack(place.directory, options_.owner.value_or(FileOwner{}), bytes);
    } else {
      while (!bytes.Next().empty()) continue;
    }
    if (target_ && archive) Extract(archive.get(), place.directory);
    if (source.excluded && members == 0) ThrowErrno(ENOENT, "stat", wanted.path);

    const std::string sum = source.name + '\0' + options.sum->HexDigest() + '\n';
    sum_.Update(sum.data(), sum.size());
    copied_.members += members;
    copied_.warnings.Append(tar.warnings());
  }

  // `path`: in the source; empty for the source itself.
  Taken Choose(const Source& source, const std::string& path, bool is_directory) const {
    if (path.empty()) return source.name == "." || source.excluded ? Taken::kContent : Taken::kAll;
    const std::string full = source.path.empty() ? path : source.path + "/" + path;
    const bool ignored = rules_.Excludes(full);
    const bool excluded = excludes_.Excludes(path);
    if (!ignored && !excluded) return Taken::kAll;
    const bool hopeless = (ignored && !rules_.HasExceptions()) || (excluded && !excludes_.HasExceptions());
    return is_directory && !hopeless ? Taken::kContent : Taken::kNothing;
  }

  UniqueFd OpenArchive(const Source& source) const {
    struct stat status;
    if (Again<::fstat>(source.fd.get(), &status) < 0) ThrowErrno(errno, "stat", source.path);
    if (!S_ISREG(status.st_mode)) return UniqueFd();
    UniqueFd file(
        Again<::open>(("/proc/self/fd/" + std::to_string(source.fd.get())).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) ThrowErrno(errno, "open", source.path);
    return IsArchive(file.get()) ? std::move(file) : UniqueFd();
  }

  Place PlaceOf(const Source& source, bool is_archive) const {
    if (source.is_directory || is_archive || options_.keep_names || target_->directory ||
        OpenInRoot(target_root_.get(), target_path_, O_PATH | O_DIRECTORY))
      return {target_path_, source.name};
    const size_t slash = target_path_.rfind('/');
    return {slash == 0 ? "/" : target_path_.substr(0, slash), target_path_.substr(slash + 1)};
  }

  void Unpack(const std::string& directory, FileOwner parents, ByteSource& bytes) {
    UnpackOptions options;
    options.root = target_->root;
    options.directory = directory;
    options.parents_uid = parents.uid;
    options.parents_gid = parents.gid;
    options.max_bytes = kMostExtracted;
    Unpacker unpacker(options, bytes);
    unpacker.Run();
    copied_.warnings.Append(unpacker.Left());
  }

  void Extract(int archive, const std::string& directory) {
    MakeCanonicalDirectories(target_root_.get(), directory, FileOwner{});
    ArchiveFile bytes(archive, options_.aborted);
    Unpack(directory, FileOwner{}, bytes);
  }

  const CopyInOptions& options_;
  const CopyTarget* target_;
  const UniqueFd root_;
  const PathRules rules_;
  const PathRules excludes_;
  UniqueFd target_root_;
  std::string target_path_;
  Sha256 sum_;
  CopiedIn copied_;
};

class Matches {
 public:
  Matches(const std::string& pattern, const std::vector<std::string>& rules)
      : pattern_(pattern), rules_(rules) {}

  void In(int directory, const std::string& prefix) {
    for (const DirectoryEntry& entry : SortedEntries(directory, prefix)) {
      const std::string path = prefix + entry.name;
      const PathPattern::Match match = pattern_.Of(path);
      const bool excluded = rules_.Excludes(path);
      if (match.path && !excluded) found_.push_back(path);
      if (!match.below || match.path || (excluded && !rules_.HasExceptions())) continue;
      if (entry.type != DT_DIR && entry.type != DT_UNKNOWN) continue;
      UniqueFd below(Again<::openat>(directory, entry.name.c_str(), kRealDirectory));
      if (below) {
        In(below.get(), path + "/");
      } else if (errno != ENOTDIR && errno != ELOOP && errno != ENOENT) {
        ThrowErrno(errno, "open", path);
      }
    }
  }
  std::vector<std::string> Take() { return std::move(found_); }

 private:
  const PathPattern pattern_;
  const PathRules rules_;
  std::vector<std::string> found_;
};

}  // namespace

CopiedIn CopyIn(const CopyInOptions& options, const CopyTarget* target) {
  return Copy(options, target).Run();
}

std::vector<std::string> MatchPaths(const std::string& root, const std::string& pattern,
                                    const std::vector<std::string>& rules) {
  const UniqueFd fd = OpenCopyRoot(root);
  const UniqueFd readable(Again<::openat>(fd.get(), ".", kRealDirectory));
  if (!readable) ThrowErrno(errno, "open", root);
  Matches matches(pattern, rules);
  matches.In(readable.get(), "");
  return matches.Take();
}

}  // namespace layerstack
