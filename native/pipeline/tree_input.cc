#include "pipeline/tree_input.h"

#include <utility>

namespace layerstack {

TreeInput::TreeInput(std::string directory, LayerTarOptions options)
    : directory_(std::move(directory)),
      options_(std::move(options)),
      pool_(std::make_shared<ChunkPool>(kChunkBytes, kChunks)) {}

SharedChunk TreeInput::Next() {
  if (!tar_) tar_ = std::make_unique<LayerTar>(directory_, options_);
  std::shared_ptr<Chunk> chunk = pool_->Take();
  if (!chunk) return nullptr;
  chunk->size = tar_->Read(chunk->Data(), chunk->Room());
  return chunk->size == 0 ? nullptr : chunk;
}

Warnings TreeInput::TakeWarnings() { return tar_ ? std::move(tar_->warnings()) : Warnings(); }

}  // namespace layerstack
