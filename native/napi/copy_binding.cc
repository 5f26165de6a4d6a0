// Copying in and out of a root file system: stat, extraction of a tar that is pushed, and copies from another
// root. (The tar of a subtree is LayerTar's, diff_binding.cc.)
#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "napi/pushed.h"
#include "pipeline/chunk_source.h"
#include "sys/thread_pool.h"
#include "tree/copy_in.h"
#include "tree/path_stat.h"
#include "tree/unpack.h"

namespace layerstack {

namespace {

Napi::Value StatInRootBinding(const Napi::CallbackInfo& info) {
  std::string root = BytesArg(info[0], "root");
  std::string path = BytesArg(info[1], "path");
  return Async<PathStat>(
      info.Env(), [root, path] { return StatInRoot(root, path); },
      [](Napi::Env env, PathStat& stat) {
        Napi::Object value = Napi::Object::New(env);
        value.Set("mode", Napi::Number::New(env, stat.status.st_mode));
        value.Set("size", Napi::Number::New(env, static_cast<double>(stat.status.st_size)));
        value.Set("mtimeSeconds", Napi::Number::New(env, static_cast<double>(stat.status.st_mtim.tv_sec)));
        value.Set("mtimeNanoseconds",
                  Napi::Number::New(env, static_cast<double>(stat.status.st_mtim.tv_nsec)));
        if (stat.link_target) value.Set("linkTarget", *stat.link_target);
        return value;
      });
}

UnpackOptions ReadUnpackOptions(const Napi::Object& object) {
  UnpackOptions options;
  options.root = BytesArg(object.Get("root"), "root");
  options.directory = BytesArg(object.Get("directory"), "directory");
  options.keep_kinds = BoolArg(object.Get("keepKinds"), "keepKinds");
  options.max_bytes = CountArg(object.Get("maxBytes"), "maxBytes");
  Napi::Value owner = object.Get("owner");
  if (owner.IsObject()) {
    options.owner = UnpackOptions::Owner::kFixed;
    options.uid = static_cast<uid_t>(IntArg(owner.As<Napi::Object>().Get("uid"), "owner.uid"));
    options.gid = static_cast<gid_t>(IntArg(owner.As<Napi::Object>().Get("gid"), "owner.gid"));
  } else if (BytesArg(owner, "owner") == "caller") {
    options.owner = UnpackOptions::Owner::kCaller;
  }
  return options;
}

Warnings Unpack(const UnpackOptions& options, PushedInput& input) {
  IsolateThread();
  Outcome<Warnings> left = OutcomeOf([&] {
    ChunkSource source(input, "the extraction was aborted");
    Unpacker unpacker(options, source);
    unpacker.Run();
    return std::move(unpacker.Left());
  });
  auto* failure = std::get_if<Failure>(&left);
  input.Release(failure);  // answers writes that still wait
  if (failure) throw std::move(*failure);
  return std::get<Warnings>(std::move(left));
}

// `TreeUnpack` of native.ts. It has a thread of its own: it waits for JavaScript, which may wait for the
// pool.
class TreeUnpack : public Napi::ObjectWrap<TreeUnpack> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("TreeUnpack", DefineClass(env, "TreeUnpack",
                                          {InstanceMethod<&TreeUnpack::Write>("write"),
                                           InstanceMethod<&TreeUnpack::End>("end"),
                                           InstanceMethod<&TreeUnpack::Abort>("abort")}));
  }

  explicit TreeUnpack(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TreeUnpack>(info) {
    UnpackOptions options = ReadUnpackOptions(ObjectArg(info[0], "options"));
    Napi::Promise result = Async<Warnings>(
        info.Env(), [options, input = input_] { return Unpack(options, *input); }, WarningsValue,
        RunOnOwnThread);
    info.This().As<Napi::Object>().DefineProperty(
        Napi::PropertyDescriptor::Value("result", result, napi_enumerable));
  }

  // Dropped by JavaScript before `end`: no more bytes can come, so the thread must not wait for them.
  ~TreeUnpack() override {
    if (!ended_) input_->Abort();
  }

 private:
  Napi::Value Write(const Napi::CallbackInfo& info) { return WritePushed(info, *input_); }
  void End(const Napi::CallbackInfo&) {
    ended_ = true;
    input_->End();
  }
  void Abort(const Napi::CallbackInfo&) { input_->Abort(); }

  std::shared_ptr<PushedInput> input_ = std::make_shared<PushedInput>();
  bool ended_ = false;
};

CopyInOptions ReadCopyInOptions(const Napi::Object& object) {
  CopyInOptions options;
  options.root = BytesArg(object.Get("root"), "root");
  std::vector<std::string> paths = BytesListArg(object.Get("sources"), "sources");
  std::vector<std::string> names = BytesListArg(object.Get("names"), "names");
  for (size_t at = 0; at < paths.size(); ++at) options.sources.push_back({paths[at], names.at(at)});
  options.rules = BytesListArg(object.Get("rules"), "rules");
  options.excludes = BytesListArg(object.Get("excludes"), "excludes");
  options.keep_names = BoolArg(object.Get("keepNames"), "keepNames");
  options.extract = BoolArg(object.Get("extract"), "extract");
  Napi::Value owner = object.Get("owner");
  if (!owner.IsUndefined()) {
    Napi::Object ids = ObjectArg(owner, "owner");
    options.owner = {static_cast<uid_t>(IntArg(ids.Get("uid"), "owner.uid")),
                     static_cast<gid_t>(IntArg(ids.Get("gid"), "owner.gid"))};
  }
  if (!object.Get("mode").IsUndefined())
    options.mode = static_cast<mode_t>(IntArg(object.Get("mode"), "mode"));
  return options;
}

std::optional<CopyTarget> ReadCopyTarget(const Napi::Value& value) {
  if (value.IsUndefined()) return std::nullopt;
  Napi::Object object = ObjectArg(value, "target");
  return CopyTarget{BytesArg(object.Get("root"), "target.root"), BytesArg(object.Get("path"), "target.path"),
                    BoolArg(object.Get("directory"), "target.directory")};
}

// `TreeCopy` of native.ts.
class TreeCopy : public Napi::ObjectWrap<TreeCopy> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("TreeCopy", DefineClass(env, "TreeCopy", {InstanceMethod<&TreeCopy::Abort>("abort")}));
  }

  explicit TreeCopy(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TreeCopy>(info) {
    CopyInOptions options = ReadCopyInOptions(ObjectArg(info[0], "options"));
    aborted_ = options.aborted;
    Napi::Promise result = Async<CopiedIn>(
        info.Env(),
        [options, target = ReadCopyTarget(info[1])] {
          IsolateThread();
          return CopyIn(options, target ? &*target : nullptr);
        },
        [](Napi::Env env, CopiedIn& copied) {
          Napi::Object value = Napi::Object::New(env);
          value.Set("digest", copied.digest);
          value.Set("members", Napi::Number::New(env, static_cast<double>(copied.members)));
          value.Set("warnings", WarningsValue(env, copied.warnings));
          return value;
        },
        RunOnOwnThread);
    info.This().As<Napi::Object>().DefineProperty(
        Napi::PropertyDescriptor::Value("result", result, napi_enumerable));
  }

 private:
  void Abort(const Napi::CallbackInfo&) { *aborted_ = true; }

  std::shared_ptr<std::atomic<bool>> aborted_;
};

Napi::Value MatchPathsBinding(const Napi::CallbackInfo& info) {
  return Async<std::vector<std::string>>(
      info.Env(),
      [root = BytesArg(info[0], "root"), pattern = BytesArg(info[1], "pattern"),
       rules = BytesListArg(info[2], "rules")] { return MatchPaths(root, pattern, rules); },
      [](Napi::Env env, std::vector<std::string>& paths) {
        Napi::Array value = Napi::Array::New(env, paths.size());
        for (uint32_t at = 0; at < paths.size(); ++at)
          value.Set(at, Napi::Buffer<char>::Copy(env, paths[at].data(), paths[at].size()));
        return value;
      });
}

}  // namespace

void InitCopy(Napi::Env env, Napi::Object exports) {
  exports.Set("statInRoot", Napi::Function::New<StatInRootBinding>(env, "statInRoot"));
  exports.Set("matchPaths", Napi::Function::New<MatchPathsBinding>(env, "matchPaths"));
  TreeUnpack::Init(env, exports);
  TreeCopy::Init(env, exports);
}

}  // namespace layerstack
