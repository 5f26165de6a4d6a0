// One layer on its way from bytes to its form in the store, on threads of its own:
//
//   reader -> [inflate] -+-> SHA-256 of the tar
//                        +-> LayerSink: extraction and tar-split, or the tar and its index
//
// If the bytes are compressed, the reader also sums them as they come. The stages share ref-counted chunks
// and hold a few MiB, whatever the layer's size. The first stage that fails stops the others.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "codec/sha256.h"
#include "codec/sniff.h"
#include "pipeline/chunks.h"
#include "pipeline/layer_input.h"
#include "pipeline/layer_sink.h"
#include "sys/failure.h"
#include "tree/warnings.h"

namespace layerstack {

struct LayerJobOptions {
  std::unique_ptr<LayerSink> sink;
  uint64_t max_bytes = UINT64_MAX;  // the most that the uncompressed tar may have
};

struct AppliedLayer {
  std::string diff_id;      // hex
  std::string blob_digest;  // hex
  uint64_t blob_size = 0;
  uint64_t tar_size = 0;
  Compression compression = Compression::kNone;
  uint64_t entries = 0;
  uint64_t content_size = 0;
  uint64_t hole_bytes = 0;  // of sparse members, counted against max_bytes as zeros
  Warnings warnings;
};

class LayerJob : public std::enable_shared_from_this<LayerJob> {
 public:
  using Done = std::function<void(Outcome<AppliedLayer>)>;

  // Starts the threads. Calls `done` once, when no thread of the job runs and no file of it is open any more:
  // on a thread of the job, or on the caller's if no thread can be started.
  static std::shared_ptr<LayerJob> Start(LayerJobOptions options, std::unique_ptr<LayerInput> input,
                                         Done done);

  // Any thread. `done` follows within milliseconds, with ERR_ABORTED.
  void Abort();
  // Any thread: how many bytes of the input have been read so far.
  uint64_t BytesRead() const { return bytes_read_; }
  LayerInput& Input() { return *input_; }

 private:
  LayerJob(LayerJobOptions options, std::unique_ptr<LayerInput> input);

  void Run(const Done& done);
  Outcome<AppliedLayer> RunStages();
  void Stage(const std::function<void()>& work);
  void Fail(const Failure& failure);
  bool HasFailed();
  void Stop();
  void Read();
  void Inflate();
  void Hash();
  void Sink();
  bool Emit(SharedChunk chunk);
  void EndTar();

  LayerJobOptions options_;
  std::unique_ptr<LayerInput> input_;
  std::shared_ptr<ChunkPool> inflated_;
  ChunkQueue compressed_;
  ChunkQueue to_hash_;
  ChunkQueue to_sink_;
  AppliedLayer result_;
  std::atomic<uint64_t> bytes_read_{0};

  std::mutex mutex_;
  std::optional<Failure> failure_;
};

}  // namespace layerstack
