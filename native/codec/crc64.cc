#include "codec/crc64.h"

#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace layerstack {

namespace {

constexpr uint64_t kPolynomial = 0xD800000000000000;  // bit i is the coefficient of x^(63-i)

// v * x mod P
constexpr uint64_t TimesX(uint64_t v) { return (v >> 1) ^ ((v & 1) ? kPolynomial : 0); }

// kTables[k][b]: the change of the state by byte b with k bytes of zeros behind it.
using Tables = std::array<std::array<uint64_t, 256>, 8>;
constexpr Tables MakeTables() {
  Tables tables{};
  for (uint64_t b = 0; b < 256; ++b) {
    uint64_t v = b;
    for (int i = 0; i < 8; ++i) v = TimesX(v);
    tables[0][b] = v;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t b = 0; b < 256; ++b) {
      uint64_t v = tables[k - 1][b];
      tables[k][b] = tables[0][v & 0xff] ^ (v >> 8);
    }
  }
  return tables;
}
constexpr Tables kTables = MakeTables();

uint64_t LoadLittle(const uint8_t* bytes) {
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap64(value);
  return value;
}

}  // namespace

uint64_t Crc64Tables(uint64_t state, const uint8_t* data, size_t length) {
  for (; length >= 8; data += 8, length -= 8) {
    state ^= LoadLittle(data);
    state = kTables[7][state & 0xff] ^ kTables[6][state >> 8 & 0xff] ^ kTables[5][state >> 16 & 0xff] ^
            kTables[4][state >> 24 & 0xff] ^ kTables[3][state >> 32 & 0xff] ^ kTables[2][state >> 40 & 0xff] ^
            kTables[1][state >> 48 & 0xff] ^ kTables[0][state >> 56];
  }
  for (; length > 0; ++data, --length) state = kTables[0][(state ^ *data) & 0xff] ^ (state >> 8);
  return state;
}

#if defined(__x86_64__)

namespace {

// x^n mod P. Carry-less multiplication of two reflected 64-bit values gives their product times x in
// reflected 128-bit form, so shifting by d bits takes the constant for d - 1.
constexpr uint64_t PowerOfX(int n) {
  uint64_t v = uint64_t{1} << 63;
  for (int i = 0; i < n; ++i) v = TimesX(v);
  return v;
}

// Moves a 16-byte remainder `Bits` further down the message: its first half counts 64 bits more.
template <int Bits>
__attribute__((target("pclmul,sse4.1"))) inline __m128i Shift(__m128i remainder) {
  constexpr auto kSecond = static_cast<long long>(PowerOfX(Bits - 1));
  constexpr auto kFirst = static_cast<long long>(PowerOfX(Bits + 64 - 1));
  const __m128i by = _mm_set_epi64x(kSecond, kFirst);
  return _mm_xor_si128(_mm_clmulepi64_si128(remainder, by, 0x00), _mm_clmulepi64_si128(remainder, by, 0x11));
}

__attribute__((target("pclmul,sse4.1"))) inline __m128i Load(const uint8_t* data) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(data));
}

}  // namespace

bool HasCrc64Multiply() {
  static const bool has = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  return has;
}

// Eight independent remainders of 16 bytes hide the latency of the multiplication; they are then moved onto
// the last one, whose CRC is that of all that was folded into it.
__attribute__((target("pclmul,sse4.1"))) uint64_t Crc64Multiply(uint64_t state, const uint8_t* data,
                                                                size_t length) {
  constexpr size_t kLanes = 8;
  constexpr size_t kStep = 16 * kLanes;
  if (length < 2 * kStep) return Crc64Tables(state, data, length);
  __m128i lane[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lane[i] = Load(data + 16 * i);
  lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi64_si128(static_cast<long long>(state)));
  data += kStep;
  length -= kStep;
  for (; length >= kStep; data += kStep, length -= kStep) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kLanes; ++i) {
      lane[i] = _mm_xor_si128(Shift<8 * kStep>(lane[i]), Load(data + 16 * i));
    }
  }
  __m128i all = lane[0];
  for (size_t i = 1; i < kLanes; ++i) all = _mm_xor_si128(Shift<128>(all), lane[i]);
  for (; length >= 16; data += 16, length -= 16) all = _mm_xor_si128(Shift<128>(all), Load(data));
  uint8_t rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), all);
  return Crc64Tables(Crc64Tables(0, rest, sizeof rest), data, length);
}

#else

bool HasCrc64Multiply() { return false; }
uint64_t Crc64Multiply(uint64_t state, const uint8_t* data, size_t length) {
  return Crc64Tables(state, data, length);
}

#endif

void Crc64::Update(const void* data, size_t length) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  state_ = HasCrc64Multiply() ? Crc64Multiply(state_, bytes, length) : Crc64Tables(state_, bytes, length);
}

std::array<uint8_t, 8> Crc64::Bytes() const {
  std::array<uint8_t, 8> bytes;
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<uint8_t>(Value() >> (56 - 8 * i));
  return bytes;
}

}  // namespace layerstack
