// Compresses a stream on all processors: a thread of its own reads the source and hands out blocks, the threads that all
// compressors share encode them, and they come out in order, summed by SHA-256 on the way. Bounded: a compressor holds
// twice as many blocks as there are processors, and reads on only when they are taken.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "codec/block_codec.h"
#include "codec/sha256.h"
#include "sys/failure.h"
#include "pipeline/chunks.h"

namespace layerstack {

class ParallelCompressor : public std::enable_shared_from_this<ParallelCompressor> {
 public:
  // The next piece; null at the end. All but the last have one size, of which blocks are multiples: so blocks are always
  // cut alike. Called on one thread, where it is destroyed too; may throw a Failure.
  using Source = std::function<SharedChunk()>;

  struct Piece {
    std::string bytes;
    uint64_t source_bytes = 0;  // that it was made of
    std::string digest;         // of all bytes, hex: in the last piece only
  };
  // Exactly one of the two is given.
  using Take = std::function<void(Piece*, const Failure*)>;

  static std::shared_ptr<ParallelCompressor> Create(std::unique_ptr<const BlockCodec> codec, Source source);

  // Asks for the next piece; `take` is called once, on any thread. Behind the last one, a failure and Abort: an empty
  // piece without a digest. One at a time. The first call starts the reading.
  void Next(Take take);
  // Never waits. What is open is closed within a piece's time.
  void Abort();

 private:
  struct Block {
    std::vector<SharedChunk> pieces;
    SharedChunk before;
    BlockCodec::Encoded encoded;
    std::optional<Failure> failure;
    bool done = false;
    bool last = false;  // nothing but the tail
  };

  ParallelCompressor(std::unique_ptr<const BlockCodec> codec, Source source);
  void Start();
  void Read();
  bool Submit(std::shared_ptr<Block> block);
  void Encode(Block& block);
  void Finish(Block& block);
  void End(std::optional<Failure> failure);
  void Deliver();
  Piece Emit(Block& block);

  const std::unique_ptr<const BlockCodec> codec_;
  Source source_;

  std::mutex mutex_;
  std::condition_variable room_;
  std::deque<std::shared_ptr<Block>> blocks_;  // in order; not yet taken
  Take take_;
  bool started_ = false;
  bool ended_ = false;

  // Of whoever delivers: one at a time, since one piece is asked for at a time.
  Sha256 sum_;
  BlockCodec::Totals totals_;
  bool headed_ = false;
};

}  // namespace layerstack
