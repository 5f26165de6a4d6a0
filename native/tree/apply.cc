#include "tree/apply.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "codec/crc64.h"
#include "sys/failure.h"
#include "sys/thread_pool.h"
#include "sys/whole_io.h"
#include "tree/member_fault.h"
#include "tree/member_path.h"

namespace layerstack {

namespace {

UniqueFd CreateTarSplit(const std::string& path) {
  UniqueFd fd(Again<::open>(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd) ThrowErrno(errno, "open", path);
  if (!ThreadIsIsolated() && Again<::fchmod>(fd.get(), 0644) < 0)
    ThrowErrno(errno, "fchmod", path);  // the umask's bits
  return fd;
}

bool IsTarWhiteout(const std::string& path) {
  size_t slash = path.rfind('/');
  return path.compare(slash == std::string::npos ? 0 : slash + 1, 4, ".wh.") == 0;
}

}  // namespace

LayerExtractor::LayerExtractor(const std::string& diff, const std::string& tar_split, const TarLimits& limits,
                               uint64_t max_bytes, ByteSource& source, Clones* clones)
    : tar_split_path_(tar_split),
      clones_(clones),
      tar_split_fd_(CreateTarSplit(tar_split)),
      tar_split_(tar_split_fd_.get()),
      source_(source),
      reader_(source, *this, limits, kLayerCodes),
      bound_(max_bytes),
      tree_(diff, tar_split_, result_.warnings) {}

void LayerExtractor::Raw(std::string_view bytes) { tar_split_.Segment(bytes.data(), bytes.size()); }

ExtractedLayer LayerExtractor::Run() {
  TarMember member;
  while (reader_.Next(member)) {
    try {
      bound_.Take(member, reader_.Position());
      Apply(member);
    } catch (Failure& failure) {
      JudgeMember(failure, member.name, kLayerCodes.invalid, tree_.Root());
      throw;
    }
  }
  tar_split_.FlushSegment();
  reader_.Trailing();
  tar_split_.Finish();
  tree_.Finish();
  if (!tree_.Replaced().Empty()) tree_.Replaced().FoldInto(tar_split_path_, [this] { source_.Check(); });
  result_.entries = reader_.Members();
  result_.content_size = tree_.ContentSize();
  result_.hole_bytes = bound_.Holes();
  return std::move(result_);
}

void LayerExtractor::CarryPayload() {
  for (std::string_view piece = reader_.Payload(); !piece.empty(); piece = reader_.Payload()) Raw(piece);
}

template <typename Use>
void LayerExtractor::RecordPayload(const TarMember& member, Use use) {
  tar_split_.FlushSegment();
  Crc64 crc;
  for (std::string_view piece = reader_.Payload(); !piece.empty(); piece = reader_.Payload()) {
    crc.Update(piece.data(), piece.size());
    use(piece);
  }
  tar_split_.FileEntry(member.name, member.size, crc.Bytes());
}

void LayerExtractor::Apply(const TarMember& member) {
  if (member.name.find('\0') != std::string::npos)
    ThrowInput("ERR_LAYER_INVALID", "a member has a NUL byte in its name");
  std::optional<std::string> path = CleanMemberPath(member.name);
  if (!path && member.type != 'g')
    ThrowInput("ERR_LAYER_ESCAPE", "'" + member.name + "' climbs out of the layer");
  // Each name gets one file entry, since readers refuse a second one. The header's bytes are in a segment
  // anyway. A global header applies to nothing, so its name may climb. Then it gets no entry.
  fresh_name_ = path && names_.Insert(*path);
  if (member.type == 'g') {
    if (fresh_name_) tar_split_.FileEntry(member.name, 0, std::nullopt);
    return;
  }
  bool is_file = (member.type == '0' || member.type == 'S') && !path->empty() && !IsTarWhiteout(*path);
  if (is_file) return RegularFile(member, *path);
  if (!path->empty()) {
    ApplyAt(member, *path);
  } else if (!member.name.empty() && member.name.front() == '/') {
    // dockerd ignores ".", but "/" sets the metadata of the layer's root.
    if (member.type != '5')
      ThrowInput("ERR_LAYER_INVALID", "'" + member.name + "' is the root of the layer, but not a directory");
    tree_.RootDirectory(member);
  }
  if (member.payload > 0) {
    CarryPayload();
  } else if (fresh_name_) {
    tar_split_.FileEntry(member.name, 0, std::nullopt);
  }
}

void LayerExtractor::ApplyAt(const TarMember& member, const std::string& path) {
  if (IsTarWhiteout(path)) return tree_.Whiteout(member, path);
  switch (member.type) {
    case '1': return tree_.HardLink(member, path);
    case '2': return tree_.Symlink(member, path);
    case '3':
    case '4':
    case '6': return tree_.Device(member, path);
    case '5': return tree_.Directory(member, path);
    default:
      ThrowInput("ERR_LAYER_INVALID", "'" + member.name + "' is of type '" + std::string(1, member.type) +
                                          "', which dockerd does not know: no layer may have it");
  }
}

void LayerExtractor::RegularFile(const TarMember& member, const std::string& path) {
  UniqueFd clone = clones_ && fresh_name_ ? clones_->Take(member.name) : UniqueFd();
  bool cloned = static_cast<bool>(clone);
  TreeWriter::File file = tree_.CreateFile(member, path, std::move(clone));
  if (member.sparse && cloned) {
    CarryPayload();
  } else if (member.sparse) {
    WriteSparse(member, file.fd.get());
  } else if (member.payload > 0 && (file.through_link || !fresh_name_)) {
    for (std::string_view piece = reader_.Payload(); !piece.empty(); piece = reader_.Payload()) {
      Raw(piece);
      Write(file.fd.get(), piece);
    }
  } else if (member.payload > 0 && cloned) {
    RecordPayload(member, [](std::string_view) {});
  } else if (member.payload > 0) {
    ContentWriter& contents = tree_.Contents();
    contents.Begin(std::move(file), member);
    RecordPayload(member, [&](std::string_view piece) { contents.Write(piece); });
    return contents.End();
  } else if (fresh_name_) {
    tar_split_.FileEntry(member.name, 0, std::nullopt);
  }
  FinishFile(file, member, result_.warnings);
}

void LayerExtractor::WriteSparse(const TarMember& member, int fd) {
  for (const SparseFragment& fragment : *member.sparse) {
    if (Again<::lseek>(fd, fragment.offset, SEEK_SET) < 0) ThrowErrno(errno, "lseek");
    for (uint64_t left = static_cast<uint64_t>(fragment.length); left > 0;) {
      std::string_view piece = reader_.Payload(left);
      Raw(piece);
      Write(fd, piece);
      left -= piece.size();
    }
  }
  if (Again<::ftruncate>(fd, static_cast<off_t>(member.size)) < 0) ThrowErrno(errno, "ftruncate");
}

}  // namespace layerstack
