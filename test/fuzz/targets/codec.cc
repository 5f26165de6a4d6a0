// gzip and zstd. The first byte chooses the format, so that no input is lost to its magic number. Neither the
// output nor the verdict depends on how the input is cut. Of a refused input, more or less may come out
// before the fault is seen.
#include "codec/decoder.h"
#include "codec/library.h"
#include "codec/sniff.h"
#include "fuzz.h"

using namespace layerstack;
using namespace layerstack::fuzz;

namespace {

constexpr size_t kEnough = 1 << 18;

struct Decoded {
  std::string out;   // at most kEnough
  std::string code;  // of the fault, or ""
};

Decoded Decode(Compression compression, std::string_view input, size_t most, size_t room) {
  std::string out;
  std::string fault = Fault([&] {
    auto decoder = StreamDecoder::Create(compression);
    Pieces pieces(input, most);
    std::vector<char> buffer(room);
    while (out.size() < kEnough) {
      size_t count = decoder->Output(buffer.data(), room);
      PROVE(count <= room);
      out.append(buffer.data(), count);
      if (count > 0) continue;
      if (decoder->Done()) return;
      std::string_view piece = pieces.Next();
      if (piece.empty()) {
        decoder->EndInput();
      } else {
        decoder->Input(std::string(piece));
      }
    }
  });
  PROVE(fault.empty() || IsOfInput(fault));
  out.resize(std::min(out.size(), kEnough));
  return {out, fault.substr(0, fault.find(':'))};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::string_view input = Text(data + 1, size - 1);
  SniffCompression(input.data(), std::min(input.size(), kSniffBytes));
  if (data[0] % 2 == 1 && Zstd() == nullptr) return 0;
  Compression compression = data[0] % 2 == 0 ? Compression::kGzip : Compression::kZstd;
  Decoded whole = Decode(compression, input, input.size() + 1, 1 << 16);
  Decoded pieces = Decode(compression, input, 40, 300);
  size_t both = std::min(whole.out.size(), pieces.out.size());
  PROVE(whole.out.substr(0, both) == pieces.out.substr(0, both));
  if (both == kEnough) return 0;  // neither needs to be read to its end
  PROVE(whole.code == pieces.code);
  if (whole.code.empty()) PROVE(whole.out.size() == pieces.out.size());
  return 0;
}
