// Where the bytes of a layer come from: a range of an open file, or chunks that another thread pushes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "pipeline/chunks.h"
#include "sys/failure.h"
#include "sys/fd.h"
#include "tree/warnings.h"

namespace layerstack {

class LayerInput {
 public:
  virtual ~LayerInput() = default;
  // Waits for the next bytes. Null at the end and after Abort.
  virtual SharedChunk Next() = 0;
  virtual void Abort() = 0;
  // Whether the bytes are known to be a plain tar, so that their beginning need not be examined.
  virtual bool IsTar() const { return false; }
  // Returns warnings about parts of the source that the layer lacks. Call it when no thread reads any more.
  virtual Warnings TakeWarnings() { return {}; }
  // Releases what the input holds. Call it when no thread reads any more. `why` is null on success.
  virtual void Release(const Failure* why) = 0;
};

class FileInput : public LayerInput {
 public:
  // Keeps a duplicate of `fd`, so the caller may close theirs. A file that ends within the range is
  // ERR_LAYER_TRUNCATED.
  FileInput(int fd, uint64_t offset, uint64_t size);
  SharedChunk Next() override;
  void Abort() override { pool_->Abort(); }
  void Release(const Failure*) override { fd_.reset(); }

 private:
  UniqueFd fd_;
  uint64_t offset_;
  uint64_t left_;
  std::shared_ptr<ChunkPool> pool_;
};

class PushedInput : public LayerInput {
 public:
  // Called once: with null when there is room for another chunk, else with why there will be none.
  using OnRoom = std::function<void(const Failure* why)>;

  // Never waits. `on_room` may be called before Write returns.
  void Write(std::shared_ptr<Chunk> chunk, OnRoom on_room);
  void End();
  SharedChunk Next() override;
  void Abort() override;
  bool Aborted();
  // Answers all writes that wait, and all later ones, with `why`.
  void Release(const Failure* why) override;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SharedChunk> chunks_;
  std::deque<OnRoom> waiting_;
  size_t bytes_ = 0;
  bool ended_ = false;
  bool aborted_ = false;
  std::optional<Failure> closed_;  // why no more is taken
};

}  // namespace layerstack
