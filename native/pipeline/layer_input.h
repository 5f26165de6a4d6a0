// Where a layer's bytes come from, as they came: a range of an open file, or chunks pushed by another thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "sys/failure.h"
#include "sys/fd.h"
#include "pipeline/chunks.h"
#include "tree/warnings.h"

namespace layerstack {

class LayerInput {
 public:
  virtual ~LayerInput() = default;
  // Waits for the next bytes; null at the end and after Abort.
  virtual SharedChunk Next() = 0;
  virtual void Abort() = 0;
  // Whether the bytes are a tar for certain, whatever they begin with.
  virtual bool IsTar() const { return false; }
  // What of the source could not become part of the layer. Once nobody reads any more.
  virtual Warnings TakeWarnings() { return {}; }
  // Gives up what it holds, once nobody reads any more. `why` is null where all has gone well.
  virtual void Release(const Failure* why) = 0;
};

class FileInput : public LayerInput {
 public:
  // Keeps a copy of `fd`: the caller may close his. A file that ends within the range is ERR_LAYER_TRUNCATED.
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
  using Settle = std::function<void(const Failure*)>;

  // Never waits.
  void Write(std::shared_ptr<Chunk> chunk, Settle settle);
  void End();
  SharedChunk Next() override;
  void Abort() override;
  // Settles what is still unsettled, and all later writes, with `why`.
  void Release(const Failure* why) override;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<SharedChunk> chunks_;
  std::deque<Settle> waiting_;
  size_t bytes_ = 0;
  bool ended_ = false;
  bool aborted_ = false;
  std::optional<Failure> closed_;  // why no more is taken
};

}  // namespace layerstack
