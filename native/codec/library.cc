#include "codec/library.h"

#include <dlfcn.h>

#include <initializer_list>

#include "sys/failure.h"

namespace layerstack {

namespace {

// Looks up names in one library. `complete` says whether it has all of them.
class Symbols {
 public:
  explicit Symbols(void* handle) : handle_(handle) {}

  template <typename Function>
  void Find(Function& function, const char* name) {
    void* symbol = ::dlsym(handle_, name);
    function = reinterpret_cast<Function>(symbol);
    complete_ = complete_ && symbol != nullptr;
  }
  bool complete() const { return complete_; }

 private:
  void* handle_;
  bool complete_ = true;
};

bool Bind(Symbols symbols, ZlibApi& api) {
  symbols.Find(api.inflate_init2, "inflateInit2_");
  symbols.Find(api.inflate, "inflate");
  symbols.Find(api.inflate_reset, "inflateReset");
  symbols.Find(api.inflate_end, "inflateEnd");
  symbols.Find(api.deflate_init2, "deflateInit2_");
  symbols.Find(api.deflate, "deflate");
  symbols.Find(api.deflate_set_dictionary, "deflateSetDictionary");
  symbols.Find(api.deflate_end, "deflateEnd");
  symbols.Find(api.crc32, "crc32");
  symbols.Find(api.crc32_combine, "crc32_combine");
  return symbols.complete();
}

bool Bind(Symbols symbols, CryptoApi& api) {
  symbols.Find(api.ctx_new, "EVP_MD_CTX_new");
  symbols.Find(api.ctx_free, "EVP_MD_CTX_free");
  symbols.Find(api.sha256, "EVP_sha256");
  symbols.Find(api.digest_init, "EVP_DigestInit_ex");
  symbols.Find(api.digest_update, "EVP_DigestUpdate");
  symbols.Find(api.digest_final, "EVP_DigestFinal_ex");
  return symbols.complete();
}

bool Bind(Symbols symbols, ZstdApi& api) {
  symbols.Find(api.create_dctx, "ZSTD_createDCtx");
  symbols.Find(api.free_dctx, "ZSTD_freeDCtx");
  symbols.Find(api.set_parameter, "ZSTD_DCtx_setParameter");
  symbols.Find(api.decompress_stream, "ZSTD_decompressStream");
  symbols.Find(api.create_cctx, "ZSTD_createCCtx");
  symbols.Find(api.free_cctx, "ZSTD_freeCCtx");
  symbols.Find(api.set_compression, "ZSTD_CCtx_setParameter");
  symbols.Find(api.compress_stream, "ZSTD_compressStream2");
  symbols.Find(api.is_error, "ZSTD_isError");
  symbols.Find(api.error_name, "ZSTD_getErrorName");
  return symbols.complete();
}

bool Bind(Symbols symbols, LibdeflateApi& api) {
  symbols.Find(api.alloc_compressor, "libdeflate_alloc_compressor");
  symbols.Find(api.free_compressor, "libdeflate_free_compressor");
  symbols.Find(api.gzip_compress_bound, "libdeflate_gzip_compress_bound");
  symbols.Find(api.gzip_compress, "libdeflate_gzip_compress");
  return symbols.complete();
}

// One library's functions. All of them come from the same place, never mixed.
template <typename Api>
class Library {
 public:
  Library(const char* shared_name, std::initializer_list<const char*> files) {
    if (Bind(Symbols(RTLD_DEFAULT), api_)) {
      source_ = "node";
      return;
    }
    for (const char* file : files) {
      void* handle = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
      if (handle == nullptr) continue;
      if (Bind(Symbols(handle), api_)) {
        source_ = shared_name;
        return;  // the handle stays open for the life of the process
      }
      ::dlclose(handle);
    }
  }
  const Api* api() const { return source_ ? &api_ : nullptr; }
  const char* source() const { return source_ ? source_ : "none"; }

 private:
  Api api_{};
  const char* source_ = nullptr;
};

const Library<ZlibApi>& ZlibLibrary() {
  static const Library<ZlibApi> library("libz", {"libz.so.1"});
  return library;
}

const Library<ZstdApi>& ZstdLibrary() {
  static const Library<ZstdApi> library("libzstd", {"libzstd.so.1"});
  return library;
}

const Library<LibdeflateApi>& LibdeflateLibrary() {
  static const Library<LibdeflateApi> library("libdeflate", {"libdeflate.so.0"});
  return library;
}

}  // namespace

const ZlibApi& Zlib() {
  const ZlibApi* api = ZlibLibrary().api();
  if (api == nullptr) ThrowInput("ERR_ADDON", "neither this Node nor the system has zlib (libz.so.1)");
  return *api;
}

const CryptoApi* Crypto() {
  static const Library<CryptoApi> library("libcrypto", {"libcrypto.so.3", "libcrypto.so.1.1"});
  return library.api();
}

const ZstdApi* Zstd() { return ZstdLibrary().api(); }
const LibdeflateApi* Libdeflate() { return LibdeflateLibrary().api(); }

const char* Sha256Source() { return Crypto() != nullptr ? "openssl" : "builtin"; }
const char* InflateSource() { return ZlibLibrary().source(); }
const char* ZstdSource() { return ZstdLibrary().source(); }
const char* LibdeflateSource() { return LibdeflateLibrary().source(); }

}  // namespace layerstack
