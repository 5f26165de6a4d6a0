// A directory as a layer's source. Its tar is made while it is read (tree/layer_tar.h), so that a commit is
// one pipeline of native threads. Clones large files if the file system can (tree/clones.h).
#pragma once

#include <memory>
#include <string>

#include "pipeline/layer_input.h"
#include "tree/clones.h"
#include "tree/layer_tar.h"

namespace layerstack {

class TreeInput : public LayerInput {
 public:
  // Opens nothing before the first Next.
  TreeInput(std::string directory, LayerTarOptions options);
  SharedChunk Next() override;
  bool IsTar() const override { return true; }
  Warnings TakeWarnings() override;
  void Abort() override { pool_->Abort(); }
  void Release(const Failure*) override { tar_.reset(); }

 private:
  std::string directory_;
  LayerTarOptions options_;
  std::unique_ptr<LayerTar> tar_;
  std::shared_ptr<ChunkPool> pool_;
};

}  // namespace layerstack
