// A tar that is extracted into a tree with entries of every kind, and links that lead out of it. Nothing
// outside of the tree is touched. The first byte chooses the options.
#include "tree/unpack.h"

#include "scratch.h"
#include "sys/thread_pool.h"

using namespace layerstack;
using namespace layerstack::fuzz;

namespace {

void Furnish(const fs::path& root) {
  fs::create_directories(root / "into" / "a" / "b");
  std::ofstream(root / "into" / "b") << "file";
  std::ofstream(root / "into" / "a" / "c") << "file";
  fs::create_symlink("../../canary", root / "into" / "l");
  fs::create_symlink("../../../canary/a", root / "into" / "a" / "l");
  fs::create_symlink("/into/a", root / "into" / "m");
  fs::create_hard_link(root / "into" / "b", root / "into" / "h");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool isolated = (IsolateThread(), ThreadIsIsolated());
  PROVE(isolated);
  static const Scratch scratch;
  if (size < 1) return 0;
  std::string_view tar = Text(data + 1, size - 1);
  fs::path root = scratch.Fresh();
  Furnish(root);
  using Owner = UnpackOptions::Owner;
  UnpackOptions options{
      .root = root,
      .directory = data[0] & 1 ? "/into" : "/into/m",
      .keep_kinds = (data[0] & 2) != 0,
      .owner = data[0] & 4   ? Owner::kCaller
               : data[0] & 8 ? Owner::kFixed
                             : Owner::kArchive,
      .uid = 7,
      .gid = 8,
      .max_bytes = kMaxBytes,
  };
  std::string fault = Fault([&] {
    PiecesSource source(tar, 3000);
    Unpacker(options, source).Run();
  });
  scratch.ProveUntouched();
  if (!fault.empty() && !IsOfInput(fault)) std::fprintf(stderr, "%s\n", fault.c_str());
  PROVE(fault.empty() || IsOfInput(fault));
  return 0;
}
