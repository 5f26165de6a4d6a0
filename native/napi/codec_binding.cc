// Decompression and layer assembly for JavaScript. The work of one object runs on the native pool, in the
// order of its calls, and holds the object's native half alive when JavaScript drops the other.
#include <memory>
#include <optional>

#include "codec/decoder.h"
#include "codec/sniff.h"
#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "napi/tar_source.h"
#include "pipeline/rebuild.h"
#include "sys/serial.h"
#include "tree/assembler.h"

namespace layerstack {

namespace {

// Larger chunks are not faster, and those that await garbage collection cost memory: with 1 MiB the load of a
// gzipped 1 GB archive peaks 40 MB higher.
constexpr size_t kChunkBytes = size_t{256} << 10;

// Bytes made on a native thread, handed to JavaScript without another copy where they fill the memory.
struct Decoded {
  std::unique_ptr<char[]> data{new char[kChunkBytes]};
  size_t size = 0;
  bool more = false;
};

Napi::Value ToBuffer(Napi::Env env, Decoded& chunk) {
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
    state_->decoder = Sync(
        info.Env(), [&] { return StreamDecoder::Create(zstd ? Compression::kZstd : Compression::kGzip); });
  }

 private:
  struct State {
    std::unique_ptr<StreamDecoder> decoder;
    bool ended = false;
    std::optional<Failure> failure;  // kept, since a broken stream cannot be continued
  };

  static Decoded Work(State& state, std::optional<std::string> input, bool end) {
    if (state.failure) throw *state.failure;
    try {
      if (input) state.decoder->Input(std::move(*input));
      if (end) state.decoder->EndInput();
      Decoded chunk;
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
    return Async<Decoded>(
        info.Env(),
        [state = state_, input = std::move(input), end]() mutable {
          return Work(*state, std::move(input), end);
        },
        [](Napi::Env env, Decoded& chunk) {
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

// A piece that its hasher may still be reading: JavaScript holds it by a reference of its own.
Napi::Value ToBuffer(Napi::Env env, SharedChunk& chunk) {
  if (!chunk) return env.Null();
  char* data = const_cast<Chunk*>(chunk.get())->Data();
  if (chunk->size < chunk->Room() / 2) return Napi::Buffer<char>::Copy(env, data, chunk->size);
  size_t size = chunk->size;
  return Napi::Buffer<char>::NewOrCopy(
      env, data, size, [](Napi::Env, char*, SharedChunk* held) { delete held; },
      new SharedChunk(std::move(chunk)));
}

std::string DiffIdArg(const Napi::Value& value) {
  if (value.IsUndefined()) return "";
  std::string digest = BytesArg(value, "diffId");
  if (!digest.starts_with("sha256:"))
    throw Napi::TypeError::New(value.Env(), "diffId must be a sha256 digest");
  return digest.substr(sizeof "sha256:" - 1);
}

// `LayerAssembler` of native.ts. Its files are opened by the first read and closed by the last, by an error
// or by close().
class AssemblerObject : public Napi::ObjectWrap<AssemblerObject> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("LayerAssembler", DefineClass(env, "LayerAssembler",
                                              {InstanceMethod<&AssemblerObject::Read>("read"),
                                               InstanceMethod<&AssemblerObject::WriteTo>("writeTo"),
                                               InstanceMethod<&AssemblerObject::Close>("close")}));
  }

  explicit AssemblerObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<AssemblerObject>(info) {
    state_->open = TarOpenerArg(ObjectArg(info[0], "files"));
    state_->diff_id = DiffIdArg(info[1]);
  }

 private:
  struct State {
    TarOpener open;
    std::string diff_id;
    std::unique_ptr<LayerRebuild> rebuild;
    bool ended = false;
  };

  // Returns what `step` gives of the layer. After an error no file of the layer stays open.
  template <typename Step>
  static auto Work(State& state, Step step) -> decltype(step(*state.rebuild)) {
    if (state.ended) return {};
    try {
      if (!state.rebuild) state.rebuild = std::make_unique<LayerRebuild>(state.open(), state.diff_id);
      return step(*state.rebuild);
    } catch (...) {
      End(state);
      throw;
    }
  }

  static void End(State& state) {
    state.ended = true;
    state.rebuild.reset();
  }

  Napi::Value Read(const Napi::CallbackInfo& info) {
    return Async<SharedChunk>(
        info.Env(),
        [state = state_] {
          SharedChunk chunk = Work(*state, [](LayerRebuild& rebuild) { return rebuild.Read(); });
          if (!chunk) End(*state);
          return chunk;
        },
        [](Napi::Env env, SharedChunk& chunk) { return ToBuffer(env, chunk); },
        [serial = serial_](std::function<void()> job) { serial->Run(std::move(job)); });
  }

  Napi::Value WriteTo(const Napi::CallbackInfo& info) {
    constexpr uint64_t kAtOnce = 8 << 20;  // then an abort is noticed, and progress is reported
    return Async<LayerRebuild::Written>(
        info.Env(),
        [state = state_, fd = FdArg(info[0], "fd")] {
          // The writer must not take this for the end of the tar.
          if (state->ended) ThrowInput("ERR_ABORTED", "the layer has ended or was closed");
          auto written =
              Work(*state, [&](LayerRebuild& rebuild) { return rebuild.WriteTo(fd->Get(), kAtOnce); });
          if (written.ended) End(*state);
          return written;
        },
        [](Napi::Env env, LayerRebuild::Written& written) -> Napi::Value {
          Napi::Object result = Napi::Object::New(env);
          result.Set("bytes", Napi::Number::New(env, static_cast<double>(written.bytes)));
          result.Set("ended", Napi::Boolean::New(env, written.ended));
          return result;
        },
        [serial = serial_](std::function<void()> job) { serial->Run(std::move(job)); });
  }

  void Close(const Napi::CallbackInfo&) {
    try {
      serial_->Run([state = state_] { End(*state); });
    } catch (const Failure&) {
      End(*state_);  // no thread could be started, so no thread of the pool reads either
    }
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::shared_ptr<Serial> serial_ = std::make_shared<Serial>();
};

Napi::Value TarSize(const Napi::CallbackInfo& info) {
  return Async<uint64_t>(
      info.Env(), [tar_split = BytesArg(info[0], "tarSplit")] { return LayerTarSize(tar_split); },
      [](Napi::Env env, uint64_t& size) { return Napi::Number::New(env, static_cast<double>(size)); });
}

}  // namespace

void InitCodec(Napi::Env env, Napi::Object exports) {
  exports.Set("sniffCompression", Napi::Function::New<Sniff>(env, "sniffCompression"));
  DecoderObject::Init(env, exports);
  AssemblerObject::Init(env, exports);
  exports.Set("layerTarSize", Napi::Function::New(env, TarSize, "layerTarSize"));
}

}  // namespace layerstack
