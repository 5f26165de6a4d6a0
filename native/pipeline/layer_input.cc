#include "pipeline/layer_input.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace layerstack {

namespace {

constexpr size_t kPushedBytes = 2 << 20;  // held before a writer is told to wait

}  // namespace

FileInput::FileInput(int fd, uint64_t offset, uint64_t size)
    : fd_(Again<::fcntl>(fd, F_DUPFD_CLOEXEC, 0)),
      offset_(offset),
      left_(size),
      pool_(std::make_shared<ChunkPool>(kChunkBytes, kChunks)) {
  if (!fd_) ThrowErrno(errno, "fcntl");
}

SharedChunk FileInput::Next() {
  if (left_ == 0) return nullptr;
  std::shared_ptr<Chunk> chunk = pool_->Take();
  if (!chunk) return nullptr;
  size_t wanted = static_cast<size_t>(std::min<uint64_t>(left_, chunk->Room()));
  ssize_t length = Again<::pread>(fd_.get(), chunk->Data(), wanted, static_cast<off_t>(offset_));
  if (length < 0) ThrowErrno(errno, "pread");
  if (length == 0) {
    ThrowInput("ERR_LAYER_TRUNCATED",
               "the file ends " + std::to_string(left_) + " bytes before the layer does",
               {{"offset", std::to_string(offset_)}});
  }
  chunk->size = static_cast<size_t>(length);
  offset_ += chunk->size;
  left_ -= chunk->size;
  return chunk;
}

void PushedInput::Write(std::shared_ptr<Chunk> chunk, OnRoom on_room) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (closed_) {
    Failure failure = *closed_;
    lock.unlock();
    return on_room(&failure);
  }
  bytes_ += chunk->size;
  if (chunk->size > 0) chunks_.push_back(std::move(chunk));
  changed_.notify_all();
  if (bytes_ >= kPushedBytes) {
    waiting_.push_back(std::move(on_room));
    return;
  }
  lock.unlock();
  on_room(nullptr);
}

void PushedInput::End() {
  std::lock_guard<std::mutex> guard(mutex_);
  ended_ = true;
  changed_.notify_all();
}

SharedChunk PushedInput::Next() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return aborted_ || ended_ || !chunks_.empty(); });
  if (aborted_ || chunks_.empty()) return nullptr;
  SharedChunk chunk = std::move(chunks_.front());
  chunks_.pop_front();
  bytes_ -= chunk->size;
  std::deque<OnRoom> answered;
  if (bytes_ < kPushedBytes) answered.swap(waiting_);
  lock.unlock();
  for (OnRoom& on_room : answered) on_room(nullptr);
  return chunk;
}

void PushedInput::Abort() {
  std::lock_guard<std::mutex> guard(mutex_);
  aborted_ = true;
  changed_.notify_all();
}

bool PushedInput::Aborted() {
  std::lock_guard<std::mutex> guard(mutex_);
  return aborted_;
}

void PushedInput::Release(const Failure* why) {
  std::deque<OnRoom> answered;
  const Failure failure =
      why ? *why : Failure::Input("ERR_INVALID_ARGUMENT", "the layer is complete: it takes no more bytes");
  {
    std::lock_guard<std::mutex> guard(mutex_);
    closed_ = failure;
    chunks_.clear();
    answered.swap(waiting_);
  }
  for (OnRoom& on_room : answered) on_room(&failure);
}

}  // namespace layerstack
