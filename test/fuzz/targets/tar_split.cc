// The lines of a tar-split, which is stored compressed. A tar-split that is read is written as one that reads
// the same, and no name in it leads out of the directory of the layer.
#include <fcntl.h>

#include "format/tar_split_reader.h"
#include "format/tar_split_writer.h"
#include "scratch.h"
#include "tree/assembler.h"

using namespace layerstack;
using namespace layerstack::fuzz;

namespace {

// Entry by entry; pieces of one segment are joined.
std::string Describe(const std::string& path, TarSplitWriter* copy) {
  TarSplitReader reader(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path);
  TarSplitEntry entry;
  std::string text;
  bool in_segment = false;
  while (reader.Next(entry)) {
    bool is_segment = entry.type == TarSplitEntry::Type::kSegment;
    if (is_segment && entry.payload.empty()) continue;
    if (!(is_segment && in_segment)) text += is_segment ? "\nsegment " : "\nfile " + entry.name + '\0';
    in_segment = is_segment;
    if (is_segment) {
      text += entry.payload;
      if (copy) copy->Segment(entry.payload.data(), entry.payload.size());
      continue;
    }
    PROVE(entry.size <= INT64_MAX && entry.crc.has_value() == (entry.size > 0));
    text += std::to_string(entry.size);
    if (entry.crc) text.append(entry.crc->begin(), entry.crc->end());
    if (copy) copy->FileEntry(entry.name, entry.size, entry.crc);
  }
  return text;
}

void Compress(std::string_view text, const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
  GzipWriter gzip(fd.get());
  gzip.Write(text.data(), text.size());
  gzip.Finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Scratch scratch;
  fs::path place = scratch.Fresh();
  std::string split = place / "split";
  std::string copied = place / "copy";
  Compress(Text(data, size), split);
  std::string read;
  std::string fault = Fault([&] {
    UniqueFd fd(::open(copied.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
    TarSplitWriter writer(fd.get());
    read = Describe(split, &writer);
    writer.Finish();
  });
  PROVE(fault.empty() || fault.starts_with("ERR_STORE_CORRUPT"));
  if (fault.empty()) PROVE(Describe(copied, nullptr) == read);

  fs::create_directories(place / "diff" / "d");
  std::ofstream(place / "diff" / "a") << "aaaa";
  fs::create_symlink("../../../canary/a", place / "diff" / "d" / "l");
  std::string rebuilt = Fault([&] {
    LayerAssembler assembler(place / "diff", split);
    std::vector<char> buffer(3000);
    size_t left = kMaxBytes;
    for (size_t got; left > 0 && (got = assembler.Read(buffer.data(), buffer.size())) > 0;)
      left -= std::min(left, got);
  });
  PROVE(rebuilt.empty() || rebuilt.starts_with("ERR_STORE_CORRUPT"));
  scratch.ProveUntouched();
  return 0;
}
