#include "codec/sha256.h"

#include <array>
#include <new>

#include "codec/library.h"
#include "codec/sha256_builtin.h"

namespace layerstack {

// OpenSSL's context, or the builtin sum if `context_` is null.
class Sha256::State {
 public:
  explicit State(Implementation implementation) {
    crypto_ = implementation == Implementation::kBest ? Crypto() : nullptr;
    if (crypto_ == nullptr) return;
    context_ = crypto_->ctx_new();
    if (context_ == nullptr) throw std::bad_alloc();
    // Fails if a provider is switched off by configuration. The builtin sum gives the same.
    if (crypto_->digest_init(context_, crypto_->sha256(), nullptr) != 1) Drop();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { Drop(); }

  void Update(const void* data, size_t length) {
    if (context_ == nullptr) return builtin_.Update(data, length);
    if (crypto_->digest_update(context_, data, length) != 1) throw std::bad_alloc();
  }

  std::array<uint8_t, 32> Finish() {
    if (context_ == nullptr) return builtin_.Finish();
    std::array<uint8_t, 32> digest;
    if (crypto_->digest_final(context_, digest.data(), nullptr) != 1) throw std::bad_alloc();
    return digest;
  }

 private:
  void Drop() {
    if (context_ != nullptr) crypto_->ctx_free(context_);
    context_ = nullptr;
  }

  const CryptoApi* crypto_;
  EVP_MD_CTX* context_ = nullptr;
  BuiltinSha256 builtin_;
};

Sha256::Sha256(Implementation implementation) : state_(std::make_unique<State>(implementation)) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::Update(const void* data, size_t length) { state_->Update(data, length); }

std::string Sha256::HexDigest() {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(64);
  for (uint8_t byte : state_->Finish()) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

}  // namespace layerstack
