#include "erofs/packed_layer.h"

#include <fcntl.h>

#include <string_view>
#include <utility>

#include "erofs/format.h"
#include "sys/early_writeback.h"
#include "sys/failure.h"
#include "sys/store_entry.h"
#include "sys/whole_io.h"
#include "tree/member_fault.h"
#include "tree/size_bound.h"

namespace layerstack::erofs {

namespace {

constexpr unsigned kTarBlockBits = 9;
constexpr uint16_t kTarDevice = 1;

// Writes all bytes to a file on their way.
class CopiedSource : public ByteSource {
 public:
  CopiedSource(ByteSource& source, int fd) : source_(source), fd_(fd) {}

  std::string_view Next() override {
    const std::string_view bytes = source_.Next();
    Write(fd_, bytes);
    size_ += bytes.size();
    const off_t end = static_cast<off_t>(size_);
    if (bytes.empty()) {
      writeback_.Start(fd_, end);
    } else {
      writeback_.Written(fd_, end);
    }
    return bytes;
  }
  void Check() override { source_.Check(); }
  uint64_t Size() const { return size_; }

 private:
  ByteSource& source_;
  int fd_;
  uint64_t size_ = 0;
  EarlyWriteback writeback_;
};

UniqueFd MakeFile(const std::string& path) {
  return OpenEntryFile(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

}  // namespace

ExtractedLayer PackedLayer::Take(ByteSource& source) {
  tar_ = MakeFile(options_.tar);
  index_ = MakeFile(options_.index);
  writer_ = std::make_unique<Writer>(index_.get(), kTarBlockBits, std::vector<Device>{{tar_.get(), 0, ""}});
  tree_ = std::make_unique<LayerTree>(warnings_);
  CopiedSource bytes(source, tar_.get());
  NoRaw raw;
  TarReader reader(bytes, raw, options_.limits, kLayerCodes);
  SizeBound bound(options_.max_bytes);
  TarMember member;
  while (reader.Next(member)) {
    try {
      bound.Take(member, reader.Position());
      Refer(member, tree_->Add(member), reader.Position());
    } catch (Failure& failure) {
      JudgeMember(failure, member.name, kLayerCodes.invalid, tar_.get());
      throw;
    }
  }
  reader.Trailing();
  tar_size_ = bytes.Size();
  ReferLast(tar_size_);
  ExtractedLayer result;
  result.entries = reader.Members();
  result.content_size = tree_->ContentSize();
  result.hole_bytes = bound.Holes();
  result.warnings = std::move(warnings_);
  return result;
}

void PackedLayer::Finish(const std::string& diff_id) {
  writer_->SetDevice(kTarDevice, {tar_.get(), tar_size_, diff_id});
  writer_->Finish(*tree_, 0);
}

void PackedLayer::Refer(const TarMember& member, Node* file, uint64_t offset) {
  if (file == nullptr || file->size == 0) return;
  file->device = kTarDevice;
  if (member.sparse) {
    file->sparse = std::make_unique<SparseSource>(SparseSource{offset, *member.sparse});
    return;
  }
  ReferLast(UINT64_MAX);
  last_ = {file, offset};
}

// The kernel reads whole blocks. A tar may end within the last block of its last file, whose content is then
// copied into the index.
void PackedLayer::ReferLast(uint64_t tar_size) {
  if (last_.node == nullptr) return;
  Node& file = *std::exchange(last_.node, nullptr);
  if (RoundUp(last_.offset + file.size, uint64_t{1} << kTarBlockBits) <= tar_size) {
    writer_->Refer(file, last_.offset);
  } else {
    const SparseMap whole{{0, static_cast<int64_t>(file.size)}};
    file.sparse = std::make_unique<SparseSource>(SparseSource{last_.offset, whole});
  }
}

}  // namespace layerstack::erofs
