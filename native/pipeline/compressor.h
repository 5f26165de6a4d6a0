// Compresses a stream on all processors. A thread of its own reads the source and hands out blocks. The
// threads that all compressors share encode them. They come out in order, summed by SHA-256 on the way. A
// compressor holds at most about twice as many blocks as there are processors, and continues to read only
// when they are taken.
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
#include "pipeline/chunks.h"
#include "sys/failure.h"

namespace layerstack {

class ParallelCompressor : public std::enable_shared_from_this<ParallelCompressor> {
 public:
  // The next piece; null at the end. All pieces but the last have one size, and the size of a block is a
  // multiple of it, so blocks are always cut alike. Called on one thread, and destroyed there. May throw a
  // Failure.
  using Source = std::function<SharedChunk()>;

  struct Piece {
    std::string bytes;
    uint64_t source_bytes = 0;  // the uncompressed size
    std::string digest;         // of all bytes, hex: in the last piece only
  };
  using OnPiece = std::function<void(Outcome<Piece>)>;

  static std::shared_ptr<ParallelCompressor> Create(std::unique_ptr<const BlockCodec> codec, Source source);

  // Asks for the next piece. Calls `on_piece` once, on any thread. After the last piece, a failure or Abort,
  // the piece is empty and has no digest. Only one piece may be asked for at a time. The first call starts
  // the reading.
  void Next(OnPiece on_piece);
  // Never waits. Open files are closed as soon as the piece being made is done.
  void Abort();

 private:
  struct Block {
    std::vector<SharedChunk> pieces;
    SharedChunk before;
    BlockCodec::Encoded encoded;
    std::optional<Failure> failure;
    bool done = false;
    bool last = false;  // only the tail
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
  OnPiece on_piece_;
  bool started_ = false;
  bool ended_ = false;

  // Used by the thread that delivers. There is one at a time, since one piece is asked for at a time.
  Sha256 sum_;
  BlockCodec::Totals totals_;
  bool headed_ = false;
};

}  // namespace layerstack
