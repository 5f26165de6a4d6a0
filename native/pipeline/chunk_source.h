// A queue of chunks as the stream of bytes that a TarReader takes.
#pragma once

#include <string_view>

#include "format/tar_reader.h"
#include "pipeline/chunks.h"
#include "sys/failure.h"

namespace layerstack {

// `Chunks` has `SharedChunk Next()`, which waits and is null at the end and after an abort, and `bool
// Aborted()`. Throws ERR_ABORTED after an abort: the end of the bytes would look like the end of the tar.
template <typename Chunks>
class ChunkSource : public ByteSource {
 public:
  // `chunks` must outlive this object. `what` is the message of ERR_ABORTED.
  ChunkSource(Chunks& chunks, const char* what) : chunks_(chunks), what_(what) {}

  std::string_view Next() override {
    chunk_ = chunks_.Next();
    if (!chunk_) Check();
    return chunk_ ? chunk_->View() : std::string_view();
  }
  void Check() override {
    if (chunks_.Aborted()) ThrowInput("ERR_ABORTED", what_);
  }

 private:
  Chunks& chunks_;
  const char* what_;
  SharedChunk chunk_;
};

}  // namespace layerstack
