// SHA-256 (FIPS 180-4) in plain C++, for processes without OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace layerstack {

class BuiltinSha256 {
 public:
  void Update(const void* data, size_t length);
  std::array<uint8_t, 32> Finish();

 private:
  void Block(const uint8_t* block);

  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t length_ = 0;
  uint8_t partial_[64];  // the last length_ % 64 bytes
};

}  // namespace layerstack
