// Stores a layer's tar: as a directory with its tar-split, or in another form.
#pragma once

#include <memory>
#include <string>

#include "format/tar_reader.h"
#include "tree/apply.h"
#include "tree/clones.h"

namespace layerstack {

class LayerSink {
 public:
  virtual ~LayerSink() = default;
  // Reads the uncompressed tar to its end, on a thread that has called IsolateThread. A Failure has the fact
  // `member` if a member is at fault. After a failure, the files stay half written.
  virtual ExtractedLayer Take(ByteSource& source) = 0;
  // Called after Take, when the digest of the tar (hex) is known.
  virtual void Finish(const std::string& /*diff_id*/) {}
};

// Extracts the layer into a directory and writes its tar-split, both absolute.
class DirectorySink : public LayerSink {
 public:
  struct Options {
    std::string diff;
    std::string tar_split;
    TarLimits limits;
    uint64_t max_bytes = UINT64_MAX;
    std::shared_ptr<Clones> clones;  // of the source's files, if it makes any
  };

  explicit DirectorySink(Options options) : options_(std::move(options)) {}

  ExtractedLayer Take(ByteSource& source) override {
    LayerExtractor extractor(options_.diff, options_.tar_split, options_.limits, options_.max_bytes, source,
                             options_.clones.get());
    return extractor.Run();
  }

 private:
  Options options_;
};

}  // namespace layerstack
