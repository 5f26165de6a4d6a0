// Decompression and layer assembly for JavaScript. The work of one object runs on the native pool, in the order of
// its calls, and holds the object's native half alive when JavaScript drops the other.
#include <memory>
#include <optional>

#include "codec/assembler.h"
#include "codec/decoder.h"
#include "codec/sniff.h"
#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "sys/serial.h"

namespace layerstack {

namespace {

// Larger chunks are no faster, and those that await garbage collection cost memory: with 1 MiB the load of a gzipped
// 1 GB archive peaks 40 MB higher.
constexpr size_t kChunkBytes = size_t{256} << 10;

// Bytes made on a native thread, handed to JavaScript without another copy where they fill the memory.
struct Chunk {
  std::unique_ptr<char[]> data{new char[kChunkBytes]};
  size_t size = 0;
  bool more = false;
};

Napi::Value ToBuffer(Napi::Env env, Chunk& chunk) {
  if (chunk.size < kChunkBytes / 2) return Napi::Buffer<char>::Copy(env, chunk.data.get(), chunk.size);
  return Napi::Buffer<char>::NewOrCopy(env, chunk.data.release(), chunk.size,
                                       [](Napi::Env, char* data) { delete[] data; });
}

std::optional<std::string> InputArg(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(value.Env(), "input must be a Uint8Array");
  }
  auto bytes = value.As<Napi::Uint8Array>();
  return std::string(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength());
}

Napi::Value Sniff(const Napi::CallbackInfo& info) {
  const std::string head = InputArg(info[0]).value();
  return Napi::String::New(info.Env(), CompressionName(SniffCompression(head.data(), head.size())));
}

// `Decoder` of native.ts.
class DecoderObject : public Napi::ObjectWrap<DecoderObject> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("Decoder", DefineClass(env, "Decoder", {InstanceMethod<&DecoderObject::Decode>("decode")}));
  }

  explicit DecoderObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DecoderObject>(info) {
    const std::string name = BytesArg(info[0], "compression");
    const bool zstd = name == "zstd";
    if (!zstd && name != "gzip") {
      throw Napi::TypeError::New(info.Env(), "compression must be 'gzip' or 'zstd'");
    }
    try {
      state_->decoder = StreamDecoder::Create(zstd ? Compression::kZstd : Compression::kGzip);
    } catch (const Failure& failure) {
      throw ToError(info.Env(), failure);
    }
  }

 private:
  struct State {
    std::unique_ptr<StreamDecoder> decoder;
    bool ended = false;
    std::optional<Failure> failure;  // stays: a broken stream is not gone on with
  };

  static Chunk Work(State& state, std::optional<std::string> input, bool end) {
    if (state.failure) throw *state.failure;
    try {
      if (input) state.decoder->Input(std::move(*input));
      if (end) state.decoder->EndInput();
      Chunk chunk;
      chunk.size = state.decoder->Output(chunk.data.get(), kChunkBytes);
      // Less than a chunk means that the input is used up. Behind its end, one more call tells whether it was
      // whole.
      state.ended = state.ended || end;
      chunk.more = chunk.size == kChunkBytes || (state.ended && !state.decoder->Done());
      return chunk;
    } catch (const Failure& failure) {
      state.failure = failure;
      throw;
    }
  }

  Napi::Value Decode(const Napi::CallbackInfo& info) {
    std::optional<std::string> input;
    const bool end = info[0].IsNull();
    if (!end && !info[0].IsUndefined()) input = InputArg(info[0]);
    return Async<Chunk>(
        info.Env(),
        [state = state_, input = std::move(input), end]() mutable { return Work(*state, std::move(input), end); },
        [](Napi::Env env, Chunk& chunk) {
          auto result = Napi::Object::New(env);
          result.Set("chunk", ToBuffer(env, chunk));
          result.Set("more", chunk.more);
          return Napi::Value(result);
        },
        [serial = serial_](std::function<void()> job) { serial->Run(std::move(job)); });
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::shared_ptr<Serial> serial_ = std::make_shared<Serial>();
};

// `LayerAssembler` of native.ts. Its files are opened by the first read and closed by the last, by an error or by
// close().
class AssemblerObject : public Napi::ObjectWrap<AssemblerObject> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("LayerAssembler", DefineClass(env, "LayerAssembler",
                                              {InstanceMethod<&AssemblerObject::Read>("read"),
                                               InstanceMethod<&AssemblerObject::Close>("close")}));
  }

  explicit AssemblerObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<AssemblerObject>(info) {
    state_->diff = BytesArg(info[0], "diff");
    state_->tar_split = BytesArg(info[1], "tarSplit");
  }

 private:
  struct State {
    std::string diff;
    std::string tar_split;
    std::unique_ptr<LayerAssembler> assembler;
    bool ended = false;
  };

  static Chunk Work(State& state) {
    Chunk chunk;
    if (state.ended) return chunk;
    try {
      if (!state.assembler) state.assembler = std::make_unique<LayerAssembler>(state.diff, state.tar_split);
      chunk.size = state.assembler->Read(chunk.data.get(), kChunkBytes);
    } catch (...) {
      End(state);
      throw;
    }
    if (chunk.size == 0) End(state);
    return chunk;
  }

  static void End(State& state) {
    state.ended = true;
    state.assembler.reset();
  }

  Napi::Value Read(const Napi::CallbackInfo& info) {
    return Async<Chunk>(
        info.Env(), [state = state_] { return Work(*state); },
        [](Napi::Env env, Chunk& chunk) { return chunk.size == 0 ? env.Null() : ToBuffer(env, chunk); },
        [serial = serial_](std::function<void()> job) { serial->Run(std::move(job)); });
  }

  void Close(const Napi::CallbackInfo&) {
    try {
      serial_->Run([state = state_] { End(*state); });
    } catch (const Failure&) {
      End(*state_);  // no thread to be had, so none of the pool reads either
    }
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::shared_ptr<Serial> serial_ = std::make_shared<Serial>();
};

}  // namespace

void InitCodec(Napi::Env env, Napi::Object exports) {
  exports.Set("sniffCompression", Napi::Function::New<Sniff>(env, "sniffCompression"));
  DecoderObject::Init(env, exports);
  AssemblerObject::Init(env, exports);
}

}  // namespace layerstack
