// Streaming SHA-256: OpenSSL's (with the processor's SHA instructions), or our own without OpenSSL.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace layerstack {

class Sha256 {
 public:
  enum class Implementation { kBest, kBuiltin };

  explicit Sha256(Implementation implementation = Implementation::kBest);
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void Update(const void* data, size_t length);
  // 64 lower-case hex digits. Ends the sum: neither Update nor HexDigest may be called afterwards.
  std::string HexDigest();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace layerstack
