// The libraries that this addon uses without linking them: zlib, OpenSSL's SHA-256, zstd and libdeflate.
// dlsym finds them in the Node binary, or else in the system's shared libraries. Each is resolved once, on
// first use, on any thread.
#pragma once

#include <openssl/evp.h>
#include <zlib.h>

#include <cstddef>

namespace layerstack {

struct ZlibApi {
  decltype(&::inflateInit2_) inflate_init2;
  decltype(&::inflate) inflate;
  decltype(&::inflateReset) inflate_reset;
  decltype(&::inflateEnd) inflate_end;
  decltype(&::deflateInit2_) deflate_init2;
  decltype(&::deflate) deflate;
  decltype(&::deflateSetDictionary) deflate_set_dictionary;
  decltype(&::deflateEnd) deflate_end;
  decltype(&::crc32) crc32;
  uLong (*crc32_combine)(uLong, uLong, long);  // zlib.h renames it if off_t has 64 bits
};

struct CryptoApi {
  decltype(&::EVP_MD_CTX_new) ctx_new;
  decltype(&::EVP_MD_CTX_free) ctx_free;
  decltype(&::EVP_sha256) sha256;
  decltype(&::EVP_DigestInit_ex) digest_init;
  decltype(&::EVP_DigestUpdate) digest_update;
  decltype(&::EVP_DigestFinal_ex) digest_final;
};

// zstd's stable streaming interface. Node ships no zstd.h, so the prototypes are declared here.
struct ZstdInBuffer {
  const void* src;
  size_t size;
  size_t pos;
};
struct ZstdOutBuffer {
  void* dst;
  size_t size;
  size_t pos;
};
struct ZstdApi {
  void* (*create_dctx)();
  size_t (*free_dctx)(void* dctx);
  size_t (*set_parameter)(void* dctx, int parameter, int value);
  size_t (*decompress_stream)(void* dctx, ZstdOutBuffer* output, ZstdInBuffer* input);
  void* (*create_cctx)();
  size_t (*free_cctx)(void* cctx);
  size_t (*set_compression)(void* cctx, int parameter, int value);
  size_t (*compress_stream)(void* cctx, ZstdOutBuffer* output, ZstdInBuffer* input, int end_directive);
  unsigned (*is_error)(size_t code);
  const char* (*error_name)(size_t code);
};

// libdeflate's compressor. It deflates twice as fast as zlib, but only whole buffers.
struct LibdeflateApi {
  void* (*alloc_compressor)(int level);  // levels 1 to 12
  void (*free_compressor)(void* compressor);
  size_t (*gzip_compress_bound)(void* compressor, size_t size);
  size_t (*gzip_compress)(void* compressor, const void* in, size_t size, void* out,
                          size_t room);  // 0: no room
};

const ZlibApi& Zlib();              // throws ERR_ADDON if it was not found
const CryptoApi* Crypto();          // null if it was not found
const ZstdApi* Zstd();              // null if it was not found
const LibdeflateApi* Libdeflate();  // null if it was not found

// The origin of each, for `probe`.
const char* Sha256Source();      // "openssl" | "builtin"
const char* InflateSource();     // "node" | "libz" | "none"
const char* ZstdSource();        // "node" | "libzstd" | "none"
const char* LibdeflateSource();  // "node" | "libdeflate" | "none"

}  // namespace layerstack
