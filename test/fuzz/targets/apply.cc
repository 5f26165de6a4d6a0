// A layer that is extracted. It is refused for its own fault only, touches nothing outside of its directory,
// and if it is accepted, it is rebuilt byte for byte, with the size that its tar-split says.
#include "tree/apply.h"

#include <fcntl.h>

#include "scratch.h"
#include "sys/thread_pool.h"
#include "tree/assembler.h"
#include "tree/content_size.h"

using namespace layerstack;
using namespace layerstack::fuzz;

namespace {

// A member may be larger than the largest file of the file system, which is a fault of the system.
bool IsExpected(const std::string& fault) {
  return fault.starts_with("ERR_LAYER_") || fault.starts_with("ERR_LIMIT_EXCEEDED");
}

std::string Rebuilt(const std::string& diff, const std::string& split) {
  LayerAssembler assembler(diff, split);
  std::string tar;
  std::vector<char> buffer(3000);
  while (size_t length = assembler.Read(buffer.data(), buffer.size())) tar.append(buffer.data(), length);
  return tar;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool isolated = (IsolateThread(), ThreadIsIsolated());
  PROVE(isolated);
  static const Scratch scratch;
  std::string_view tar = Text(data, size);
  fs::path place = scratch.Fresh();
  std::string diff = place / "diff";
  std::string split = place / "split";
  fs::create_directory(diff);
  ExtractedLayer layer;
  std::string fault = Fault([&] {
    PiecesSource source(tar, 3000);
    layer = LayerExtractor(diff, split, kLimits, kMaxBytes, source).Run();
  });
  scratch.ProveUntouched();
  if (!fault.empty()) {
    if (!IsExpected(fault)) std::fprintf(stderr, "%s\n", fault.c_str());
    PROVE(IsExpected(fault));
    return 0;
  }
  UniqueFd fd(::open(diff.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  PROVE(layer.content_size == ContentSize(fd.get()));
  PROVE(LayerTarSize(split) == tar.size());
  PROVE(Rebuilt(diff, split) == tar);
  return 0;
}
