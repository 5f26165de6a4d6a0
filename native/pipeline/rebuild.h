// The tar of a layer, rebuilt or read, and verified. Pieces are handed out while a thread of its own hashes
// them, and the end comes only when the digest is the layer's DiffID. With two cores, the hashing costs no
// time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "codec/sha256.h"
#include "pipeline/chunks.h"
#include "tree/tar_bytes.h"

namespace layerstack {

class LayerRebuild {
 public:
  // `diff_id`: 64 hex digits, or empty for a caller that checks the digest itself.
  LayerRebuild(std::unique_ptr<TarBytes> tar, std::string diff_id);
  ~LayerRebuild();

  // The next piece, which the thread may still be reading. Null at the end. Throws what the source
  // throws, and ERR_STORE_CORRUPT at the end of a tar with another digest. One call at a time.
  SharedChunk Read();

  struct Written {
    uint64_t bytes = 0;
    bool ended = false;
  };
  // Writes the next bytes straight to `fd`, through memory that is used again: up to `limit` and the rest of
  // a piece, or fewer if the fd's reader takes more than kPatience. Throws as Read, and the errno of
  // write(2). Do not mix it with Read.
  Written WriteTo(int fd, uint64_t limit);

 private:
  // False at the end.
  bool Fill(const std::shared_ptr<Chunk>& chunk);
  void Verify();

  std::unique_ptr<TarBytes> tar_;
  std::string diff_id_;
  Sha256 sum_;
  ChunkQueue to_hash_;
  std::thread hasher_;
  // Used by WriteTo: its memory, the piece being written, and how many bytes of it are written.
  std::shared_ptr<ChunkPool> pool_;
  SharedChunk writing_;
  size_t written_ = 0;
};

}  // namespace layerstack
