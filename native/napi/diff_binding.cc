// What leaves an upper: the list of its changes, and its layer tar.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "sys/serial.h"
#include "tree/changes.h"
#include "tree/layer_tar.h"

namespace layerstack {

namespace {

constexpr size_t kPiece = 256 << 10;

Napi::Value AsyncList(Napi::Env env, std::function<std::vector<Change>()> changes) {
  return Async<std::string>(
      env,
      [changes = std::move(changes)] {
        std::string list;  // one value for JavaScript: objects would cost more than the walk
        for (const Change& change : changes()) {
          list += change.kind;
          list.append(change.path.c_str(), change.path.size() + 1);
        }
        return list;
      },
      [](Napi::Env inner, std::string& list) {
        return Napi::Buffer<char>::Copy(inner, list.data(), list.size());
      });
}

Napi::Value ListChangesJs(const Napi::CallbackInfo& info) {
  std::string root = BytesArg(info[0], "root");
  std::string upper = BytesArg(info[1], "upper");
  std::vector<std::string> lowers = BytesListArg(info[2], "lowers");
  std::vector<std::string> uppers = {upper};
  if (!info[3].IsUndefined()) {
    for (std::string& sealed : BytesListArg(info[3], "sealed")) uppers.push_back(std::move(sealed));
  }
  return AsyncList(info.Env(), [root, upper, uppers, lowers] {
    return uppers.size() == 1 ? ListChanges(root, upper, lowers)
                              : ListStackedChanges(root, {}, uppers, lowers);
  });
}

Napi::Value CompareStacksJs(const Napi::CallbackInfo& info) {
  return AsyncList(info.Env(),
                   [root = BytesArg(info[0], "root"), before = BytesListArg(info[1], "before"),
                    after = BytesListArg(info[2], "after"), lowers = BytesListArg(info[3], "lowers")] {
                     return ListStackedChanges(root, before, after, lowers);
                   });
}

struct Bytes {
  std::unique_ptr<char[]> data{new char[kPiece]};
  size_t size = 0;
};

struct TarPiece {
  std::unique_ptr<Bytes> bytes;
  std::vector<Warning> warnings;
};

// `LayerTar` of native.ts. Its directory is opened by the first read; all is closed by the last, by an error
// or by close().
class LayerTarObject : public Napi::ObjectWrap<LayerTarObject> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("LayerTar", DefineClass(env, "LayerTar",
                                        {InstanceMethod<&LayerTarObject::Read>("read"),
                                         InstanceMethod<&LayerTarObject::Close>("close")}));
  }

  explicit LayerTarObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LayerTarObject>(info) {
    state_->directory = BytesArg(info[0], "directory");
    if (!info[1].IsUndefined()) state_->options.latest_mtime = IntArg(info[1], "latestMtime");
    if (!info[2].IsUndefined()) state_->subtree = ReadSubtree(ObjectArg(info[2], "subtree"), state_->options);
  }

 private:
  struct Subtree {
    std::string path;
    std::string name;
  };

  static Subtree ReadSubtree(const Napi::Object& object, LayerTarOptions& options) {
    options.kind = TreeKind::kView;
    options.cross_mounts = BoolArg(object.Get("crossMounts"), "subtree.crossMounts");
    options.sparse = BoolArg(object.Get("sparse"), "subtree.sparse");
    return {BytesArg(object.Get("path"), "subtree.path"), BytesArg(object.Get("name"), "subtree.name")};
  }

  struct State {
    std::string directory;
    std::optional<Subtree> subtree;
    LayerTarOptions options;
    std::unique_ptr<LayerTar> tar;
    size_t warned = 0;
    bool ended = false;
  };

  static void End(State& state) {
    state.ended = true;
    state.tar.reset();
  }

  static std::unique_ptr<LayerTar> Open(const State& state) {
    if (!state.subtree) return std::make_unique<LayerTar>(state.directory, state.options);
    return std::make_unique<LayerTar>(state.directory, state.subtree->path, state.subtree->name,
                                      state.options);
  }

  static TarPiece Work(State& state) {
    TarPiece piece;
    piece.bytes = std::make_unique<Bytes>();
    if (state.ended) return piece;
    try {
      if (!state.tar) state.tar = Open(state);
      piece.bytes->size = state.tar->Read(piece.bytes->data.get(), kPiece);
    } catch (...) {
      End(state);
      throw;
    }
    const std::vector<Warning>& warnings = state.tar->warnings().List();
    piece.warnings.assign(warnings.begin() + static_cast<ptrdiff_t>(state.warned), warnings.end());
    state.warned = warnings.size();
    if (piece.bytes->size == 0) End(state);
    return piece;
  }

  static Napi::Value ToValue(Napi::Env env, TarPiece& piece) {
    Napi::Array warnings = Napi::Array::New(env, piece.warnings.size());
    for (uint32_t i = 0; i < piece.warnings.size(); ++i) {
      Napi::Object warning = Napi::Object::New(env);
      warning.Set("code", piece.warnings[i].code);
      warning.Set("member", piece.warnings[i].member);
      warning.Set("message", piece.warnings[i].message);
      warnings.Set(i, warning);
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("warnings", warnings);
    result.Set("chunk", piece.bytes->size == 0 ? env.Null() : ToBuffer(env, std::move(piece.bytes)));
    return result;
  }

  static Napi::Value ToBuffer(Napi::Env env, std::unique_ptr<Bytes> bytes) {
    if (bytes->size < kPiece / 2) return Napi::Buffer<char>::Copy(env, bytes->data.get(), bytes->size);
    Bytes* held = bytes.release();
    return Napi::Buffer<char>::NewOrCopy(
        env, held->data.get(), held->size, [](Napi::Env, char*, Bytes* owner) { delete owner; }, held);
  }

  Napi::Value Read(const Napi::CallbackInfo& info) {
    return Async<TarPiece>(
        info.Env(), [state = state_] { return Work(*state); }, ToValue,
        [serial = serial_](std::function<void()> job) { serial->Run(std::move(job)); });
  }

  // After the running reads, so that no file of the directory is open when it settles: then the caller may
  // unmount it.
  Napi::Value Close(const Napi::CallbackInfo& info) {
    return Async<int>(
        info.Env(),
        [state = state_] {
          End(*state);
          return 0;
        },
        [](Napi::Env env, int&) { return env.Undefined(); },
        [serial = serial_](std::function<void()> job) { serial->Run(std::move(job)); });
  }

  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::shared_ptr<Serial> serial_ = std::make_shared<Serial>();
};

}  // namespace

void InitDiff(Napi::Env env, Napi::Object exports) {
  exports.Set("listChanges", Napi::Function::New(env, ListChangesJs, "listChanges"));
  exports.Set("compareStacks", Napi::Function::New(env, CompareStacksJs, "compareStacks"));
  LayerTarObject::Init(env, exports);
}

}  // namespace layerstack
