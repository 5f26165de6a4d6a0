// A layer's tar, rebuilt, verified and compressed for JavaScript.
#include <memory>
#include <optional>
#include <string>

#include "codec/block_codec.h"
#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "napi/tar_source.h"
#include "pipeline/compressor.h"
#include "pipeline/rebuild.h"

namespace layerstack {

namespace {

using CompressedPiece = ParallelCompressor::Piece;

Napi::Value ToBuffer(Napi::Env env, std::string bytes) {
  auto* held = new std::string(std::move(bytes));
  return Napi::Buffer<char>::NewOrCopy(
      env, held->data(), held->size(), [](Napi::Env, char*, std::string* owner) { delete owner; }, held);
}

Napi::Value PieceToValue(Napi::Env env, CompressedPiece& piece) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("tarBytes", Napi::Number::New(env, static_cast<double>(piece.source_bytes)));
  if (!piece.digest.empty()) result.Set("digest", "sha256:" + piece.digest);
  result.Set("chunk", ToBuffer(env, std::move(piece.bytes)));
  return result;
}

// Opens the layer's files with the first piece: on the thread that reads them.
ParallelCompressor::Source SourceOf(TarOpener open, std::string diff_id) {
  auto rebuild = std::make_shared<std::unique_ptr<LayerRebuild>>();
  return [=]() -> SharedChunk {
    if (!*rebuild) *rebuild = std::make_unique<LayerRebuild>(open(), diff_id);
    return (*rebuild)->Read();
  };
}

// `LayerCompressor` of native.ts.
class CompressorObject : public Napi::ObjectWrap<CompressorObject> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("LayerCompressor", DefineClass(env, "LayerCompressor",
                                               {InstanceMethod<&CompressorObject::Read>("read"),
                                                InstanceMethod<&CompressorObject::Close>("close")}));
  }

  explicit CompressorObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CompressorObject>(info) {
    Napi::Object options = ObjectArg(info[0], "options");
    const std::string name = BytesArg(options.Get("compression"), "compression");
    const int level = static_cast<int>(IntArg(options.Get("level"), "level"));
    const std::string diff_id = BytesArg(options.Get("diffId"), "diffId");
    const std::string encoder = BytesArg(options.Get("gzip"), "gzip");
    const bool zstd = name == "zstd";
    if (!zstd && name != "gzip")
      throw Napi::TypeError::New(info.Env(), "compression must be 'gzip' or 'zstd'");
    if (encoder != "libdeflate" && encoder != "zlib")
      throw Napi::TypeError::New(info.Env(), "gzip must be 'libdeflate' or 'zlib'");
    if (!diff_id.starts_with("sha256:"))
      throw Napi::TypeError::New(info.Env(), "diffId must be a sha256 digest");
    ParallelCompressor::Source source = SourceOf(TarOpenerArg(options), diff_id.substr(sizeof "sha256:" - 1));
    failure_ = Catch([&] {
      compressor_ = ParallelCompressor::Create(
          BlockCodec::Create(zstd ? Compression::kZstd : Compression::kGzip, level,
                             encoder == "zlib" ? GzipEncoder::kZlib : GzipEncoder::kLibdeflate),
          std::move(source));
    });
  }

  ~CompressorObject() override {
    if (compressor_) compressor_->Abort();
  }

 private:
  Napi::Value Read(const Napi::CallbackInfo& info) {
    Settlement<CompressedPiece> settlement(info.Env(), PieceToValue);
    if (!compressor_) {
      settlement.Reject(*failure_);
      return settlement.Promise();
    }
    compressor_->Next(
        [settlement](Outcome<CompressedPiece> piece) mutable { settlement.Settle(std::move(piece)); });
    return settlement.Promise();
  }

  void Close(const Napi::CallbackInfo&) {
    if (compressor_) compressor_->Abort();
  }

  std::shared_ptr<ParallelCompressor> compressor_;
  std::optional<Failure> failure_;  // set if the compressor could not be made; the first read reports it
};

}  // namespace

void InitCompress(Napi::Env env, Napi::Object exports) { CompressorObject::Init(env, exports); }

}  // namespace layerstack
