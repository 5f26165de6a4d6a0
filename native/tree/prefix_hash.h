// Hashes of a path and of every directory above it, in one pass over its bytes: polynomials modulo 2^61 - 1
// at two random points, 122 bits. Two paths of one layer collide with a probability below 2^-50, even if an
// attacker chose them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace layerstack {

// The random points. Hashes can be compared if they have the same key.
class PrefixKey {
 public:
  PrefixKey();  // throws the errno of getrandom(2)

 private:
  friend class PrefixHash;
  uint64_t points_[2];
};

class PrefixHash {
 public:
  struct Value {
    uint64_t words[2];
    bool operator==(const Value&) const = default;
  };
  struct Index {  // for unordered containers
    size_t operator()(const Value& value) const { return static_cast<size_t>(value.words[0]); }
  };

  explicit PrefixHash(const PrefixKey& key) : key_(key) {}
  void Add(char c) {
    for (int i = 0; i < 2; ++i) {
      value_.words[i] = Modulo(static_cast<unsigned __int128>(value_.words[i]) * key_.points_[i] +
                               static_cast<unsigned char>(c) + 1);
    }
  }
  // The hash of the bytes added so far.
  const Value& Get() const { return value_; }

 private:
  static constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;

  static uint64_t Modulo(unsigned __int128 number) {
    uint64_t sum = static_cast<uint64_t>(number & kPrime) + static_cast<uint64_t>(number >> 61);
    return sum >= kPrime ? sum - kPrime : sum;
  }

  friend class PrefixKey;
  const PrefixKey& key_;
  Value value_{{0, 0}};
};

}  // namespace layerstack
