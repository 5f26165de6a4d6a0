#include "erofs/image.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "erofs/tree.h"
#include "erofs/writer.h"
#include "format/tar_reader.h"
#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/overlay_mount.h"
#include "sys/xattrs.h"
#include "tree/layer_tar.h"

namespace layerstack::erofs {

namespace {

constexpr TarErrorCodes kImageCodes{"ERR_LAYER_INVALID", "ERR_LAYER_TRUNCATED"};
constexpr size_t kImagePiece = 256 << 10;
constexpr unsigned kImageBlockBits = 12;  // every machine can mount this

class ImageTar : public ByteSource, public RawSink {
 public:
  ImageTar(LayerTar& tar, const std::function<void()>& going) : tar_(tar), going_(going) {}
  std::string_view Next() override {
    going_();
    return {buffer_.get(), tar_.Read(buffer_.get(), kImagePiece)};
  }
  void Raw(std::string_view) override {}

 private:
  LayerTar& tar_;
  const std::function<void()>& going_;
  std::unique_ptr<char[]> buffer_ = std::make_unique<char[]>(kImagePiece);
};

// Adds the root, which the tar leaves out.
TarMember RootMember(const std::string& directory, const ImageSource& source) {
  UniqueFd fd(Again<::open>(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat status;
  if (!fd || Again<::fstat>(fd.get(), &status) < 0) ThrowErrno(errno, "open", directory);
  TarMember member;
  member.type = '5';
  member.name = "/";
  member.mode = status.st_mode & 07777;
  member.uid = status.st_uid;
  member.gid = status.st_gid;
  member.mtime = {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
  if (source.root_mtime) member.mtime = {*source.root_mtime, 0};
  if (source.latest_mtime) member.mtime = std::min(member.mtime, TarTime{*source.latest_mtime, 0});
  for (const std::string& name : ListXattrs(fd.get(), directory)) {
    std::optional<std::string> value = GetXattr(fd.get(), name, directory);
    if (value) member.xattrs.emplace_back(name, *value);
  }
  return member;
}

void NarrowTime(TarTime& time) {
  if (time.seconds < INT32_MIN) time = {INT32_MIN, 0};
  if (time.seconds > INT32_MAX) time = {INT32_MAX, 0};
}

}  // namespace

Warnings WriteImage(const ImageSource& source, int fd, const std::function<void()>& going) {
  UniqueFd view;
  std::string directory = source.root;
  if (!source.lowers.empty()) {
    view = OpenOverlay(source.root, source.lowers);
    directory = "/proc/self/fd/" + std::to_string(view.get()) + "/.";
  }
  LayerTarOptions options;
  options.latest_mtime = source.latest_mtime;
  options.kind = TreeKind::kView;
  options.sparse = true;
  LayerTar tar(directory, std::move(options));
  ImageTar bytes(tar, going);
  TarReader reader(bytes, bytes, TarLimits{}, kImageCodes);
  Warnings warnings;
  Tree tree(warnings);
  TarMember member = RootMember(directory, source);
  if (source.narrow_times) NarrowTime(member.mtime);
  tree.SetRoot(member);
  Writer writer(fd, kImageBlockBits);
  while (reader.Next(member)) {
    if (source.narrow_times) NarrowTime(member.mtime);
    if (Node* file = tree.Add(member)) writer.Content(*file, member, reader);
  }
  writer.Finish(tree, source.latest_mtime.value_or(0));
  warnings.Append(tar.warnings());
  return warnings;
}

}  // namespace layerstack::erofs
