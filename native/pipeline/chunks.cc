#include "pipeline/chunks.h"

namespace layerstack {

std::shared_ptr<Chunk> ChunkPool::Take() {
  std::unique_lock<std::mutex> lock(mutex_);
  returned_.wait(lock, [this] { return aborted_ || left_ > 0 || !free_.empty(); });
  if (aborted_) return nullptr;
  std::unique_ptr<Chunk> chunk;
  if (!free_.empty()) {
    chunk = std::move(free_.back());
    free_.pop_back();
  } else {
    chunk = std::make_unique<Chunk>(room_);
    --left_;
  }
  chunk->size = 0;
  return {chunk.release(), [pool = shared_from_this()](Chunk* used) { pool->Return(used); }};
}

void ChunkPool::Return(Chunk* chunk) {
  std::lock_guard<std::mutex> guard(mutex_);
  free_.emplace_back(chunk);
  returned_.notify_one();
}

void ChunkPool::Abort() {
  std::lock_guard<std::mutex> guard(mutex_);
  aborted_ = true;
  returned_.notify_all();
}

bool ChunkQueue::Push(SharedChunk chunk) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return aborted_ || chunks_.size() < limit_; });
  if (aborted_) return false;
  chunks_.push_back(std::move(chunk));
  changed_.notify_all();
  return true;
}

void ChunkQueue::Close() {
  std::lock_guard<std::mutex> guard(mutex_);
  closed_ = true;
  changed_.notify_all();
}

SharedChunk ChunkQueue::Next() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return aborted_ || closed_ || !chunks_.empty(); });
  if (aborted_ || chunks_.empty()) return nullptr;
  SharedChunk chunk = std::move(chunks_.front());
  chunks_.pop_front();
  changed_.notify_all();
  return chunk;
}

void ChunkQueue::Abort() {
  std::deque<SharedChunk> dropped;
  std::lock_guard<std::mutex> guard(mutex_);
  aborted_ = true;
  dropped.swap(chunks_);
  changed_.notify_all();
}

bool ChunkQueue::Aborted() {
  std::lock_guard<std::mutex> guard(mutex_);
  return aborted_;
}

}  // namespace layerstack
