// CRC-64 as tar-split stores it for every file: ISO polynomial (reflected 0xD800000000000000), initial value
// and final XOR all ones, bytes big-endian. It runs over every byte of every layer, so it has two
// implementations: carry-less multiplication if the processor has it, else tables.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace layerstack {

class Crc64 {
 public:
  void Update(const void* data, size_t length);
  uint64_t Value() const { return ~state_; }
  std::array<uint8_t, 8> Bytes() const;  // as tar-split stores it
  void Reset() { state_ = ~uint64_t{0}; }

 private:
  uint64_t state_ = ~uint64_t{0};
};

// The two implementations, on the running (inverted) state. Update takes the faster one that the processor
// has.
uint64_t Crc64Tables(uint64_t state, const uint8_t* data, size_t length);
bool HasCrc64Multiply();
uint64_t Crc64Multiply(uint64_t state, const uint8_t* data, size_t length);  // only if HasCrc64Multiply()

}  // namespace layerstack
