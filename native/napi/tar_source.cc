#include "napi/tar_source.h"

#include <string>

#include "napi/args.h"
#include "tree/assembler.h"

namespace layerstack {

TarOpener TarOpenerArg(const Napi::Object& files) {
  if (files.Has("tar")) {
    return [tar = BytesArg(files.Get("tar"), "tar")] { return std::make_unique<StoredTar>(tar); };
  }
  return [diff = BytesArg(files.Get("diff"), "diff"), split = BytesArg(files.Get("tarSplit"), "tarSplit")] {
    return std::make_unique<LayerAssembler>(diff, split);
  };
}

}  // namespace layerstack
