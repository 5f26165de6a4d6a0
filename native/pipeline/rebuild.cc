#include "pipeline/rebuild.h"

#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "sys/failure.h"
#include "sys/priority.h"
#include "sys/thread_pool.h"
#include "sys/whole_io.h"

namespace layerstack {

namespace {

constexpr size_t kPiece = 256 << 10;
constexpr size_t kPiecesAhead = 16;  // pieces that the hash may lag behind

}  // namespace

LayerRebuild::LayerRebuild(std::unique_ptr<TarBytes> tar, std::string diff_id)
    : tar_(std::move(tar)), diff_id_(std::move(diff_id)), to_hash_(kPiecesAhead) {
  if (diff_id_.empty()) return;
  hasher_ = StartThread([this] {
    TakeUsualPriority();
    while (SharedChunk chunk = to_hash_.Next()) sum_.Update(chunk->View().data(), chunk->size);
  });
}

LayerRebuild::~LayerRebuild() {
  to_hash_.Abort();
  if (hasher_.joinable()) hasher_.join();
}

bool LayerRebuild::Fill(const std::shared_ptr<Chunk>& chunk) {
  chunk->size = tar_->Read(chunk->Data(), chunk->Room());
  if (chunk->size == 0) {
    if (hasher_.joinable()) Verify();
    return false;
  }
  if (hasher_.joinable()) to_hash_.Push(chunk);
  return true;
}

SharedChunk LayerRebuild::Read() {
  auto chunk = std::make_shared<Chunk>(kPiece);
  return Fill(chunk) ? chunk : nullptr;
}

LayerRebuild::Written LayerRebuild::WriteTo(int fd, uint64_t limit) {
  if (!pool_)
    pool_ = std::make_shared<ChunkPool>(kPiece, kPiecesAhead + 2);  // and one being hashed, one being written
  std::chrono::nanoseconds patience = kPatience;
  Written result;
  while (result.bytes < limit) {
    if (!writing_) {
      auto chunk = pool_->Take();
      if (!Fill(chunk)) {
        result.ended = true;
        break;
      }
      writing_ = std::move(chunk);
      written_ = 0;
    }
    const std::string_view left = writing_->View().substr(written_);
    ssize_t count = WritePatiently(fd, left.data(), left.size(), &patience);
    if (count < 0) ThrowErrno(errno, "write");
    written_ += static_cast<size_t>(count);
    result.bytes += static_cast<uint64_t>(count);
    if (static_cast<size_t>(count) < left.size()) break;
    writing_.reset();
  }
  return result;
}

void LayerRebuild::Verify() {
  to_hash_.Close();
  hasher_.join();
  std::string found = sum_.HexDigest();
  if (found == diff_id_) return;
  ThrowInput("ERR_STORE_CORRUPT",
             "the tar of the layer has the digest sha256:" + found + " instead of sha256:" + diff_id_ +
                 ": its files were changed on disk",
             {{"expected", "sha256:" + diff_id_}, {"found", "sha256:" + found}});
}

}  // namespace layerstack
