// Stores a layer packed: its tar as it is, and an index over it. Both are written in one pass over the bytes.
// The index keeps the layer's whiteouts, in overlayfs's form, so that an overlay of indexes shows an image.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "erofs/layer_tree.h"
#include "erofs/writer.h"
#include "format/tar_reader.h"
#include "pipeline/layer_sink.h"
#include "sys/fd.h"

namespace layerstack::erofs {

class PackedLayer : public LayerSink {
 public:
  struct Options {
    std::string tar;    // absolute; both files are made
    std::string index;  // absolute
    TarLimits limits;
    uint64_t max_bytes = UINT64_MAX;  // of the tar, holes included
  };

  explicit PackedLayer(Options options) : options_(std::move(options)) {}

  ExtractedLayer Take(ByteSource& source) override;
  // Writes the index, whose device has the digest as its tag. Both files are then on disk, but not their
  // names.
  void Finish(const std::string& diff_id) override;

 private:
  // A file whose content may reach beyond the last whole block of the tar.
  struct LastFile {
    Node* node = nullptr;
    uint64_t offset = 0;
  };

  void Refer(const TarMember& member, Node* file, uint64_t offset);
  void ReferLast(uint64_t tar_size);

  Options options_;
  UniqueFd tar_;
  UniqueFd index_;
  std::unique_ptr<Writer> writer_;
  std::unique_ptr<LayerTree> tree_;
  Warnings warnings_;
  LastFile last_;
  uint64_t tar_size_ = 0;
};

}  // namespace layerstack::erofs
