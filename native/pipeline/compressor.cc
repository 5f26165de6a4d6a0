#include "pipeline/compressor.h"

#include <utility>

#include "sys/priority.h"
#include "sys/thread_pool.h"

namespace layerstack {

namespace {

size_t MostBlocks() { return 2 * static_cast<size_t>(Cores()) + 2; }

}  // namespace

ParallelCompressor::ParallelCompressor(std::unique_ptr<const BlockCodec> codec, Source source)
    : codec_(std::move(codec)), source_(std::move(source)) {}

std::shared_ptr<ParallelCompressor> ParallelCompressor::Create(std::unique_ptr<const BlockCodec> codec,
                                                               Source source) {
  return std::shared_ptr<ParallelCompressor>(new ParallelCompressor(std::move(codec), std::move(source)));
}

void ParallelCompressor::Next(OnPiece on_piece) {
  std::optional<Failure> failure = Catch([&] {
    std::unique_lock<std::mutex> lock(mutex_);
    if (ended_) return;
    if (!std::exchange(started_, true)) Start();
    on_piece_ = std::exchange(on_piece, nullptr);
    // The caller's thread must not hash: it may be JavaScript's.
    if (blocks_.empty() || !blocks_.front()->done) return;
    RunOnPool([self = shared_from_this()] { self->Deliver(); });
  });
  if (failure) {
    {
      std::lock_guard<std::mutex> guard(mutex_);
      if (on_piece_) on_piece = std::exchange(on_piece_, nullptr);
    }
    Abort();
    if (on_piece)
      on_piece(std::move(*failure));  // else a block that was finished meanwhile has been delivered
  } else if (on_piece) {              // ended
    on_piece(Piece());
  }
}

void ParallelCompressor::Abort() {
  OnPiece on_piece;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    ended_ = true;
    blocks_.clear();
    on_piece = std::exchange(on_piece_, nullptr);
    room_.notify_all();
  }
  if (on_piece) on_piece(Piece());
}

void ParallelCompressor::Start() {
  RunOnOwnThread([self = shared_from_this()] {
    TakeUsualPriority();
    std::optional<Failure> failure = Catch([&] { self->Read(); });
    self->source_ = nullptr;
    self->End(std::move(failure));
  });
}

// The reading thread.
void ParallelCompressor::Read() {
  SharedChunk before;
  bool first = true;
  for (bool more = true; more; first = false) {
    auto block = std::make_shared<Block>();
    block->before = before;
    size_t size = 0;
    while (more && size < codec_->BlockBytes()) {
      SharedChunk piece = source_();
      more = piece != nullptr;
      if (!more) break;
      size += piece->size;
      before = piece;
      block->pieces.push_back(std::move(piece));
    }
    if (size == 0 && !first) return;
    if (!Submit(std::move(block))) return;
  }
}

// Waits for room. Returns false when no more blocks are wanted.
bool ParallelCompressor::Submit(std::shared_ptr<Block> block) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    room_.wait(lock, [this] { return ended_ || blocks_.size() < MostBlocks(); });
    if (ended_) return false;
    blocks_.push_back(block);
  }
  RunOnCores([self = shared_from_this(), block = std::move(block)] { self->Encode(*block); });
  return true;
}

void ParallelCompressor::Encode(Block& block) {
  {
    std::lock_guard<std::mutex> guard(mutex_);
    if (ended_) return;
  }
  block.failure = Catch([&] {
    std::vector<std::string_view> pieces;
    for (const SharedChunk& piece : block.pieces) pieces.push_back(piece->View());
    block.encoded = codec_->Encode(pieces, block.before ? block.before->View() : std::string_view());
  });
  block.pieces.clear();
  block.before.reset();
  Finish(block);
}

void ParallelCompressor::Finish(Block& block) {
  {
    std::lock_guard<std::mutex> guard(mutex_);
    block.done = true;
  }
  Deliver();
}

// The source has ended. Its end is delivered after all blocks, its failure at once.
void ParallelCompressor::End(std::optional<Failure> failure) {
  auto block = std::make_shared<Block>();
  block->failure = std::move(failure);
  block->last = true;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    if (ended_) return;
    if (block->failure) blocks_.clear();
    blocks_.push_back(block);
  }
  Finish(*block);
}

void ParallelCompressor::Deliver() {
  std::shared_ptr<Block> block;
  OnPiece on_piece;
  {
    std::lock_guard<std::mutex> guard(mutex_);
    if (!on_piece_ || blocks_.empty() || !blocks_.front()->done) return;
    block = std::move(blocks_.front());
    blocks_.pop_front();
    on_piece = std::exchange(on_piece_, nullptr);
    if (block->last || block->failure) ended_ = true;
    room_.notify_one();
  }
  Outcome<Piece> piece =
      block->failure ? Outcome<Piece>(std::move(*block->failure)) : OutcomeOf([&] { return Emit(*block); });
  if (std::holds_alternative<Failure>(piece)) Abort();
  on_piece(std::move(piece));
}

ParallelCompressor::Piece ParallelCompressor::Emit(Block& block) {
  Piece piece;
  if (block.last) {
    piece.bytes = codec_->Tail(totals_);
  } else {
    piece.bytes = std::move(block.encoded.bytes);
    if (!std::exchange(headed_, true)) piece.bytes.insert(0, codec_->Head());
    piece.source_bytes = block.encoded.totals.length;
    codec_->Join(totals_, block.encoded.totals);
  }
  sum_.Update(piece.bytes.data(), piece.bytes.size());
  if (block.last) piece.digest = sum_.HexDigest();
  return piece;
}

}  // namespace layerstack
