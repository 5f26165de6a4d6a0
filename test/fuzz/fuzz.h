// What the fuzz targets share. A target is a function of some bytes that ends the process if the native core
// breaks a promise; the sanitizers end it for everything else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "format/tar_reader.h"
#include "sys/failure.h"

#define PROVE(condition)                                                                  \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace layerstack::fuzz {

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Cuts bytes into pieces of 1 to `most` bytes, whose sizes follow from the bytes alone. Each piece has memory
// of its own, so that reading behind it is seen.
class Pieces {
 public:
  Pieces(std::string_view bytes, size_t most) : left_(bytes), most_(most), state_(bytes.size()) {}

  std::string_view Next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    size_t length = std::min<size_t>(1 + (state_ >> 33) % most_, left_.size());
    piece_ = std::vector<char>(left_.begin(), left_.begin() + static_cast<ptrdiff_t>(length));
    left_.remove_prefix(length);
    return {piece_.data(), piece_.size()};
  }

 private:
  std::string_view left_;
  size_t most_;
  uint64_t state_;
  std::vector<char> piece_;
};

class PiecesSource : public ByteSource {
 public:
  PiecesSource(std::string_view bytes, size_t most) : pieces_(bytes, most) {}
  std::string_view Next() override { return pieces_.Next(); }

 private:
  Pieces pieces_;
};

// Small bounds, so that inputs reach them.
inline constexpr TarLimits kLimits{200, 4096, 16384};
inline constexpr uint64_t kMaxBytes = 1 << 22;

// What `work` throws, or "".
template <typename Work>
std::string Fault(Work work) {
  try {
    work();
    return "";
  } catch (const Failure& failure) {
    return failure.code + ": " + failure.message;
  }
}

// Whether a fault of the input and not of the system.
inline bool IsOfInput(const std::string& fault) { return fault.starts_with("ERR_"); }

}  // namespace layerstack::fuzz
