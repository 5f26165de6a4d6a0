#include "codec/decoder.h"

#include <algorithm>
#include <limits>
#include <new>

#include "codec/library.h"
#include "sys/failure.h"

namespace layerstack {

namespace {

// Members one after another, as RFC 1952 says. zlib checks header CRCs, sums and lengths.
class GzipDecoder final : public StreamDecoder {
 public:
  GzipDecoder() : zlib_(Zlib()) {
    constexpr int kGzipOnly = 15 + 16;
    if (zlib_.inflate_init2(&stream_, kGzipOnly, ZLIB_VERSION, sizeof stream_) != Z_OK)
      throw std::bad_alloc();
  }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;
  ~GzipDecoder() override { zlib_.inflate_end(&stream_); }

 private:
  Step Decode(const char* input, size_t length, char* output, size_t room) override {
    constexpr size_t kMost = std::numeric_limits<uInt>::max();
    const auto in = static_cast<uInt>(std::min(length, kMost));
    const auto out = static_cast<uInt>(std::min(room, kMost));
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input));
    stream_.avail_in = in;
    stream_.next_out = reinterpret_cast<Bytef*>(output);
    stream_.avail_out = out;
    int code = zlib_.inflate(&stream_, Z_NO_FLUSH);
    if (code == Z_MEM_ERROR) throw std::bad_alloc();
    if (code != Z_OK && code != Z_BUF_ERROR && code != Z_STREAM_END) {
      ThrowInput("ERR_LAYER_INVALID",
                 std::string("the gzip stream is malformed: ") + (stream_.msg ? stream_.msg : "bad data"));
    }
    if (code == Z_STREAM_END) zlib_.inflate_reset(&stream_);
    return {in - stream_.avail_in, out - stream_.avail_out, code == Z_STREAM_END};
  }

  const ZlibApi& zlib_;
  z_stream stream_{};
};

// Frames one after another, including skippable ones.
class ZstdDecoder final : public StreamDecoder {
 public:
  ZstdDecoder() : zstd_(Zstd()) {
    if (zstd_ == nullptr) {
      ThrowInput("ERR_COMPRESSION_UNSUPPORTED",
                 "zstd: neither this Node nor the system has it; install libzstd1 or use Node >= 22.15");
    }
    context_ = zstd_->create_dctx();
    if (context_ == nullptr) throw std::bad_alloc();
    constexpr int kWindowLogMax = 100;  // ZSTD_d_windowLogMax
    zstd_->set_parameter(context_, kWindowLogMax, kMaxZstdWindowLog);
  }
  ZstdDecoder(const ZstdDecoder&) = delete;
  ZstdDecoder& operator=(const ZstdDecoder&) = delete;
  ~ZstdDecoder() override { zstd_->free_dctx(context_); }

 private:
  Step Decode(const char* input, size_t length, char* output, size_t room) override {
    ZstdInBuffer in{input, length, 0};
    ZstdOutBuffer out{output, room, 0};
    size_t code = zstd_->decompress_stream(context_, &out, &in);
    if (zstd_->is_error(code)) {
      ThrowInput("ERR_LAYER_INVALID",
                 std::string("the zstd stream is malformed: ") + zstd_->error_name(code));
    }
    return {in.pos, out.pos, code == 0};
  }

  const ZstdApi* zstd_;
  void* context_;
};

}  // namespace

std::unique_ptr<StreamDecoder> StreamDecoder::Create(Compression compression) {
  switch (compression) {
    case Compression::kGzip: return std::make_unique<GzipDecoder>();
    case Compression::kZstd: return std::make_unique<ZstdDecoder>();
    case Compression::kNone:
    case Compression::kBzip2:
    case Compression::kXz: break;
  }
  ThrowInput("ERR_COMPRESSION_UNSUPPORTED", std::string("cannot decompress ") + CompressionName(compression));
}

void StreamDecoder::Input(std::string chunk) {
  if (position_ == input_.size()) {
    input_ = std::move(chunk);
  } else {
    input_.erase(0, position_);
    input_ += chunk;
  }
  position_ = 0;
}

size_t StreamDecoder::Output(char* buffer, size_t room) {
  size_t filled = 0;
  while (filled < room) {
    size_t left = input_.size() - position_;
    if (left == 0 && !held_back_) break;
    Step step = Decode(input_.data() + position_, left, buffer + filled, room - filled);
    position_ += step.consumed;
    filled += step.produced;
    const bool moved = step.consumed > 0 || step.produced > 0;
    if (moved || step.boundary) boundary_ = step.boundary;
    // Only a full buffer can leave output behind, and never at a boundary.
    held_back_ = filled == room && !step.boundary;
    if (!moved && !step.boundary && left > 0) {
      ThrowInput("ERR_LAYER_INVALID", "the compressed stream makes no progress");
    }
  }
  if (ended_ && position_ == input_.size() && !held_back_) {
    if (boundary_) {
      done_ = true;
    } else if (filled == 0 && room > 0) {  // all earlier output was taken
      ThrowInput("ERR_LAYER_TRUNCATED", "the compressed stream ends early");
    }
  }
  return filled;
}

}  // namespace layerstack
