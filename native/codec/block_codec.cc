#include "codec/block_codec.h"

#include <algorithm>
#include <new>

#include "codec/library.h"
#include "sys/failure.h"

namespace layerstack {

namespace {

constexpr size_t kWindow = size_t{32} << 10;  // deflate looks back this far
constexpr size_t kGrowth = size_t{64} << 10;
constexpr size_t kGzipBlock = size_t{256} << 10;

void CheckLevel(int level, int most, const char* name) {
  if (level >= 1 && level <= most) return;
  ThrowInput("ERR_INVALID_ARGUMENT", std::string(name) + " does not have the level " + std::to_string(level) +
                                         ": use 1 (fastest) to " + std::to_string(most) + " (smallest)");
}

// Makes room behind the bytes of `out` and returns where the room starts.
char* Grow(std::string& out) {
  const size_t size = out.size();
  out.resize(size + kGrowth);
  return out.data() + size;
}

class ZlibBlocks final : public BlockCodec {
 public:
  explicit ZlibBlocks(int level) : level_(level) { CheckLevel(level, 9, "gzip"); }

  size_t BlockBytes() const override { return kGzipBlock; }

  // Go's header: no name, no time, XFL 0, OS unknown.
  std::string Head() const override { return {'\x1f', '\x8b', 8, 0, 0, 0, 0, 0, 0, '\xff'}; }

  Encoded Encode(const std::vector<std::string_view>& block, std::string_view before) const override {
    const ZlibApi& zlib = Zlib();
    constexpr int kRaw = -15;
    constexpr int kMemLevel = 8;
    z_stream stream{};
    if (zlib.deflate_init2(&stream, level_, Z_DEFLATED, kRaw, kMemLevel, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                           sizeof stream) != Z_OK) {
      throw std::bad_alloc();
    }
    struct End {
      const ZlibApi& zlib;
      z_stream& stream;
      ~End() { zlib.deflate_end(&stream); }
    } end{zlib, stream};
    if (!before.empty()) {
      std::string_view window = before.substr(before.size() - std::min(before.size(), kWindow));
      zlib.deflate_set_dictionary(&stream, reinterpret_cast<const Bytef*>(window.data()),
                                  static_cast<uInt>(window.size()));
    }
    Encoded encoded;
    for (std::string_view piece : block) {
      const auto* bytes = reinterpret_cast<const Bytef*>(piece.data());
      const auto length = static_cast<uInt>(piece.size());
      encoded.totals.crc = static_cast<uint32_t>(zlib.crc32(encoded.totals.crc, bytes, length));
      encoded.totals.length += length;
      stream.next_in = const_cast<Bytef*>(bytes);
      stream.avail_in = length;
      Deflate(stream, Z_NO_FLUSH, encoded.bytes);
    }
    // Ends at a byte boundary, with an empty stored block, so that the next one can follow.
    Deflate(stream, Z_SYNC_FLUSH, encoded.bytes);
    return encoded;
  }

  void Join(Totals& totals, const Totals& block) const override {
    totals.crc =
        static_cast<uint32_t>(Zlib().crc32_combine(totals.crc, block.crc, static_cast<long>(block.length)));
    totals.length += block.length;
  }

  std::string Tail(const Totals& totals) const override {
    std::string tail = {3, 0};  // the last block, empty
    for (uint32_t value : {totals.crc, static_cast<uint32_t>(totals.length)}) {
      for (int shift = 0; shift < 32; shift += 8) tail += static_cast<char>(value >> shift);
    }
    return tail;
  }

 private:
  static void Deflate(z_stream& stream, int flush, std::string& out) {
    do {
      stream.next_out = reinterpret_cast<Bytef*>(Grow(out));
      stream.avail_out = kGrowth;
      Zlib().deflate(&stream, flush);
      out.resize(out.size() - stream.avail_out);
    } while (stream.avail_out == 0);
  }

  int level_;
};

// libdeflate keeps no state between two buffers, so every block is a member of its own.
class LibdeflateBlocks final : public BlockCodec {
 public:
  explicit LibdeflateBlocks(int level) : level_(level) {
    CheckLevel(level, 9, "gzip");
    if (Libdeflate() == nullptr)
      ThrowInput("ERR_COMPRESSION_UNSUPPORTED",
                 "gzip by libdeflate: the system has no libdeflate.so.0; install libdeflate0");
  }

  size_t BlockBytes() const override { return kGzipBlock; }

  Encoded Encode(const std::vector<std::string_view>& block, std::string_view) const override {
    std::string joined;
    std::string_view whole;
    if (block.size() == 1) {
      whole = block.front();
    } else {
      for (std::string_view piece : block) joined += piece;
      whole = joined;
    }
    const LibdeflateApi& deflate = *Libdeflate();
    void* compressor = Compressor(level_);
    std::string& room = Room();
    room.resize(std::max(room.size(), deflate.gzip_compress_bound(compressor, whole.size())));
    const size_t size =
        deflate.gzip_compress(compressor, whole.data(), whole.size(), room.data(), room.size());
    if (size == 0) ThrowInput("ERR_INTERNAL", "libdeflate: a block does not fit into its own bound");
    return {room.substr(0, size), {whole.size(), 0}};
  }

 private:
  // Each thread keeps a compressor and the memory for its output, since fresh memory costs a page fault every
  // 4 KiB.
  static void* Compressor(int level) {
    thread_local int made_for = 0;
    thread_local std::unique_ptr<void, void (*)(void*)> compressor(nullptr, Libdeflate()->free_compressor);
    if (made_for != level) {
      compressor.reset(Libdeflate()->alloc_compressor(level));
      if (!compressor) throw std::bad_alloc();
      made_for = level;
    }
    return compressor.get();
  }
  static std::string& Room() {
    thread_local std::string room;
    return room;
  }

  int level_;
};

class ZstdBlocks final : public BlockCodec {
 public:
  explicit ZstdBlocks(int level) : level_(level) {
    CheckLevel(level, 19, "zstd");
    if (Zstd() == nullptr) {
      ThrowInput(
          "ERR_COMPRESSION_UNSUPPORTED",
          "zstd: neither this Node nor the system has it; install libzstd1, use Node >= 22.15, or gzip");
    }
  }

  // A frame looks back no further than its start. Larger frames would save few bytes and cost much more
  // memory.
  size_t BlockBytes() const override { return size_t{1} << 20; }

  Encoded Encode(const std::vector<std::string_view>& block, std::string_view) const override {
    const ZstdApi& zstd = *Zstd();
    std::unique_ptr<void, size_t (*)(void*)> context(zstd.create_cctx(), zstd.free_cctx);
    if (!context) throw std::bad_alloc();
    constexpr int kLevel = 100;     // ZSTD_c_compressionLevel
    constexpr int kChecksum = 201;  // ZSTD_c_checksumFlag, as the zstd command sets it
    constexpr int kContinue = 0, kEnd = 2;
    zstd.set_compression(context.get(), kLevel, level_);
    zstd.set_compression(context.get(), kChecksum, 1);
    Encoded encoded;
    for (std::string_view piece : block) {
      encoded.totals.length += piece.size();
      ZstdInBuffer in{piece.data(), piece.size(), 0};
      while (in.pos < in.size) Step(context.get(), in, kContinue, encoded.bytes);
    }
    ZstdInBuffer none{nullptr, 0, 0};
    while (Step(context.get(), none, kEnd, encoded.bytes) != 0) continue;
    return encoded;
  }

 private:
  static size_t Step(void* context, ZstdInBuffer& in, int directive, std::string& out) {
    ZstdOutBuffer room{Grow(out), kGrowth, 0};
    size_t left = Zstd()->compress_stream(context, &room, &in, directive);
    out.resize(out.size() - kGrowth + room.pos);
    if (Zstd()->is_error(left)) ThrowInput("ERR_INTERNAL", std::string("zstd: ") + Zstd()->error_name(left));
    return left;
  }

  int level_;
};

}  // namespace

GzipEncoder BestGzipEncoder() {
  return Libdeflate() != nullptr ? GzipEncoder::kLibdeflate : GzipEncoder::kZlib;
}

std::unique_ptr<const BlockCodec> BlockCodec::Create(Compression compression, int level,
                                                     GzipEncoder encoder) {
  // gzip: the fastest level at which either encoder makes fewer bytes than podman's. zstd: the default of its
  // command.
  constexpr int kDefaultGzip = 4, kDefaultZstd = 3;
  if (level == 0) level = compression == Compression::kZstd ? kDefaultZstd : kDefaultGzip;
  switch (compression) {
    case Compression::kGzip:
      if (encoder == GzipEncoder::kLibdeflate) return std::make_unique<LibdeflateBlocks>(level);
      return std::make_unique<ZlibBlocks>(level);
    case Compression::kZstd: return std::make_unique<ZstdBlocks>(level);
    case Compression::kNone:
    case Compression::kBzip2:
    case Compression::kXz: break;
  }
  ThrowInput("ERR_COMPRESSION_UNSUPPORTED",
             std::string("cannot compress by ") + CompressionName(compression));
}

}  // namespace layerstack
