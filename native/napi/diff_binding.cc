// The way out of an upper: its changes and its layer tar.
#include <memory>

#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "tree/changes.h"
#include "tree/layer_tar.h"

namespace layerstack {

namespace {

constexpr size_t kPiece = 1 << 20;

Napi::Value ListChangesJs(const Napi::CallbackInfo& info) {
  std::string root = BytesArg(info[0], "root");
  std::string upper = BytesArg(info[1], "upper");
  std::vector<std::string> lowers = BytesListArg(info[2], "lowers");
  return Async<std::vector<Change>>(
      info.Env(), [root, upper, lowers] { return ListChanges(root, upper, lowers); },
      [](Napi::Env env, std::vector<Change>& changes) {
        Napi::Array list = Napi::Array::New(env, changes.size());
        for (uint32_t i = 0; i < changes.size(); ++i) {
          Napi::Object change = Napi::Object::New(env);
          change.Set("kind", Napi::String::New(env, std::string(1, changes[i].kind)));
          change.Set("path", Napi::String::New(env, changes[i].path));
          list.Set(i, change);
        }
        return list;
      });
}

struct Piece {
  std::unique_ptr<std::vector<char>> bytes;
  std::vector<LayerTar::Warning> warnings;
};

// LayerTar of native.ts: one `read` at a time, which the door in src/layer/diff.ts keeps to.
class LayerTarJs : public Napi::ObjectWrap<LayerTarJs> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "LayerTar", {InstanceMethod<&LayerTarJs::Read>("read")});
  }

  explicit LayerTarJs(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LayerTarJs>(info) {
    std::string upper = BytesArg(info[0], "upper");
    LayerTarOptions options;
    if (info[1].IsNumber()) options.latest_mtime = IntArg(info[1], "latestMtime");
    state_ = std::make_shared<State>();
    state_->upper = upper;
    state_->options = options;
  }

 private:
  struct State {
    std::mutex mutex;
    std::string upper;
    LayerTarOptions options;
    std::unique_ptr<LayerTar> tar;  // opened by the first read, off the JavaScript thread
    size_t warned = 0;
  };

  Napi::Value Read(const Napi::CallbackInfo& info) {
    return Async<Piece>(
        info.Env(),
        [state = state_] {
          std::lock_guard<std::mutex> guard(state->mutex);
          if (!state->tar) state->tar = std::make_unique<LayerTar>(state->upper, state->options);
          Piece piece;
          piece.bytes = std::make_unique<std::vector<char>>(kPiece);
          piece.bytes->resize(state->tar->Read(piece.bytes->data(), kPiece));
          const auto& warnings = state->tar->warnings();
          piece.warnings.assign(warnings.begin() + static_cast<ptrdiff_t>(state->warned), warnings.end());
          state->warned = warnings.size();
          return piece;
        },
        [](Napi::Env env, Piece& piece) -> Napi::Value {
          Napi::Object result = Napi::Object::New(env);
          Napi::Array warnings = Napi::Array::New(env, piece.warnings.size());
          for (uint32_t i = 0; i < piece.warnings.size(); ++i) {
            Napi::Object warning = Napi::Object::New(env);
            warning.Set("code", Napi::String::New(env, piece.warnings[i].code));
            warning.Set("member", Napi::String::New(env, piece.warnings[i].member));
            warning.Set("message", Napi::String::New(env, piece.warnings[i].message));
            warnings.Set(i, warning);
          }
          result.Set("warnings", warnings);
          if (piece.bytes->empty()) {
            result.Set("chunk", env.Null());
            return result;
          }
          auto* bytes = piece.bytes.release();
          result.Set("chunk", Napi::Buffer<char>::New(
                                  env, bytes->data(), bytes->size(),
                                  [](Napi::Env, char*, std::vector<char>* owner) { delete owner; }, bytes));
          return result;
        });
  }

  std::shared_ptr<State> state_;
};

}  // namespace

void InitDiff(Napi::Env env, Napi::Object exports) {
  exports.Set("listChanges", Napi::Function::New(env, ListChangesJs, "listChanges"));
  exports.Set("LayerTar", LayerTarJs::Define(env));
}

}  // namespace layerstack
