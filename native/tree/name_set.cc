#include "tree/name_set.h"

#include <sys/random.h>

#include <bit>
#include <cstring>

#include "sys/failure.h"

namespace layerstack {

namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Round() {
    v0 += v1;
    v2 += v3;
    v1 = std::rotl(v1, 13) ^ v0;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 = std::rotl(v0, 32) + v3;
    v2 += v1;
    v3 = std::rotl(v3, 21) ^ v0;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void Word(uint64_t word) {
    v3 ^= word;
    Round();
    v0 ^= word;
  }
};

}  // namespace

NameSet::NameSet() : slots_(1024) {
  if (Again<::getrandom>(key_, sizeof key_, 0) != sizeof key_) ThrowErrno(errno, "getrandom");
}

// SipHash-1-3.
uint64_t NameSet::Hash(std::string_view name) const {
  SipState state{key_[0] ^ 0x736f6d6570736575, key_[1] ^ 0x646f72616e646f6d, key_[0] ^ 0x6c7967656e657261,
                 key_[1] ^ 0x7465646279746573};
  uint64_t last = static_cast<uint64_t>(name.size()) << 56;
  for (; name.size() >= 8; name.remove_prefix(8)) {
    uint64_t word;
    std::memcpy(&word, name.data(), 8);
    state.Word(word);
  }
  for (size_t i = 0; i < name.size(); ++i) last |= uint64_t{static_cast<uint8_t>(name[i])} << (8 * i);
  state.Word(last);
  state.v2 ^= 0xff;
  for (int i = 0; i < 3; ++i) state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

bool NameSet::Place(uint64_t hash) {
  size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask;; i = (i + 1) & mask) {
    if (slots_[i] == hash) return false;
    if (slots_[i] == 0) {
      slots_[i] = hash;
      return true;
    }
  }
}

void NameSet::Grow() {
  std::vector<uint64_t> old(slots_.size() * 2);
  old.swap(slots_);
  for (uint64_t hash : old) {
    if (hash != 0) Place(hash);
  }
}

bool NameSet::Insert(std::string_view name) {
  if (used_ * 2 >= slots_.size()) Grow();
  uint64_t hash = Hash(name);
  bool fresh = Place(hash == 0 ? 1 : hash);
  used_ += fresh;
  return fresh;
}

}  // namespace layerstack
