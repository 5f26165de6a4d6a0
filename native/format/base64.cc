#include "format/base64.h"

#include <array>
#include <cstdint>

namespace layerstack {

namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kInvalid = 0xff;

constexpr std::array<uint8_t, 256> MakeValues() {
  std::array<uint8_t, 256> values{};
  values.fill(kInvalid);
  for (uint8_t i = 0; i < 64; ++i) values[static_cast<uint8_t>(kAlphabet[i])] = i;
  return values;
}
constexpr std::array<uint8_t, 256> kValues = MakeValues();

}  // namespace

void AppendBase64(std::string& out, const void* data, size_t length) {
  const auto* in = static_cast<const uint8_t*>(data);
  size_t at = out.size();
  out.resize(at + (length + 2) / 3 * 4);
  char* to = out.data() + at;
  for (; length >= 3; in += 3, length -= 3) {
    uint32_t group = uint32_t{in[0]} << 16 | uint32_t{in[1]} << 8 | in[2];
    *to++ = kAlphabet[group >> 18];
    *to++ = kAlphabet[group >> 12 & 63];
    *to++ = kAlphabet[group >> 6 & 63];
    *to++ = kAlphabet[group & 63];
  }
  if (length == 0) return;
  uint32_t group = uint32_t{in[0]} << 16 | (length == 2 ? uint32_t{in[1]} << 8 : 0);
  *to++ = kAlphabet[group >> 18];
  *to++ = kAlphabet[group >> 12 & 63];
  *to++ = length == 2 ? kAlphabet[group >> 6 & 63] : '=';
  *to++ = '=';
}

bool DecodeBase64(std::string_view text, std::string& out) {
  if (text.size() % 4 != 0) return false;
  if (text.empty()) return true;
  size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  text.remove_suffix(padding);
  size_t at = out.size();
  out.resize(at + text.size() / 4 * 3 + (padding > 0 ? 3 - padding : 0));
  char* to = out.data() + at;
  const auto* in = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* end = in + text.size();
  uint8_t seen = 0;  // kInvalid's top bit stays, and no valid value has it
  for (; end - in >= 4; in += 4) {
    uint8_t a = kValues[in[0]], b = kValues[in[1]], c = kValues[in[2]], d = kValues[in[3]];
    seen |= a | b | c | d;
    uint32_t group = uint32_t{a} << 18 | uint32_t{b} << 12 | uint32_t{c} << 6 | d;
    *to++ = static_cast<char>(group >> 16);
    *to++ = static_cast<char>(group >> 8);
    *to++ = static_cast<char>(group);
  }
  if (padding > 0) {
    uint8_t a = kValues[in[0]], b = kValues[in[1]], c = padding == 1 ? kValues[in[2]] : uint8_t{0};
    seen |= a | b | c;
    uint32_t group = uint32_t{a} << 18 | uint32_t{b} << 12 | uint32_t{c} << 6;
    *to++ = static_cast<char>(group >> 16);
    if (padding == 1) *to++ = static_cast<char>(group >> 8);
    if ((group & (padding == 1 ? 0xff : 0xffff)) != 0) return false;  // bits that no encoder sets
  }
  return (seen & 0x80) == 0;
}

}  // namespace layerstack
