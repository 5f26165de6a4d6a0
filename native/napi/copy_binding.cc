// Copying in and out of a root file system: stat, and extraction of a tar that is pushed. (The tar of a subtree is
// LayerTar's, diff_binding.cc.)
#include <atomic>
#include <memory>
#include <system_error>
#include <thread>

#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "napi/pushed.h"
#include "sys/thread_pool.h"
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
        value.Set("mtimeNanoseconds", Napi::Number::New(env, static_cast<double>(stat.status.st_mtim.tv_nsec)));
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

Failure Aborted() {
  Failure failure;
  failure.code = "ERR_ABORTED";
  failure.message = "the extraction was aborted";
  return failure;
}

// What JavaScript pushes, as the extractor reads it.
class PushedSource : public ByteSource {
 public:
  std::string_view Next() override {
    chunk_ = input.Next();
    if (!chunk_ && aborted) throw Aborted();  // must not look like the end of the tar
    return chunk_ ? chunk_->View() : std::string_view();
  }
  void Abort() {
    aborted = true;
    input.Abort();
  }

  PushedInput input;
  std::atomic<bool> aborted{false};

 private:
  SharedChunk chunk_;
};

Warnings Unpack(const UnpackOptions& options, PushedSource& source) {
  IsolateThread();
  try {
    Unpacker unpacker(options, source);
    unpacker.Run();
    source.input.Release(nullptr);
    return std::move(unpacker.Left());
  } catch (const Failure& failure) {
    source.input.Release(&failure);
    throw;
  } catch (...) {  // out of memory: who still writes must not wait
    Failure failure = Aborted();
    source.input.Release(&failure);
    throw;
  }
}

// `TreeUnpack` of native.ts. It has a thread of its own: it waits for JavaScript, which may wait for the pool.
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
        info.Env(), [options, source = source_] { return Unpack(options, *source); }, WarningsValue,
        [](std::function<void()> job) {
          try {
            std::thread(std::move(job)).detach();
          } catch (const std::system_error& error) {
            ThrowErrno(error.code().value(), "pthread_create");
          }
        });
    info.This().As<Napi::Object>().DefineProperty(
        Napi::PropertyDescriptor::Value("result", result, napi_enumerable));
  }

  // Dropped by JavaScript before `end`: no more bytes can come, so the thread must not wait for them.
  ~TreeUnpack() override {
    if (!ended_) source_->Abort();
  }

 private:
  Napi::Value Write(const Napi::CallbackInfo& info) { return WritePushed(info, source_->input); }
  void End(const Napi::CallbackInfo&) {
    ended_ = true;
    source_->input.End();
  }
  void Abort(const Napi::CallbackInfo&) { source_->Abort(); }

  std::shared_ptr<PushedSource> source_ = std::make_shared<PushedSource>();
  bool ended_ = false;
};

}  // namespace

void InitCopy(Napi::Env env, Napi::Object exports) {
  exports.Set("statInRoot", Napi::Function::New<StatInRootBinding>(env, "statInRoot"));
  TreeUnpack::Init(env, exports);
}

}  // namespace layerstack
