// A root file system as an EROFS image.
#include <atomic>
#include <memory>

#include "erofs/image.h"
#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "napi/pushed.h"
#include "sys/thread_pool.h"

namespace layerstack {

namespace {

// `ErofsImage` of native.ts. It has a thread of its own: it takes as long as the tree is large.
class ErofsImage : public Napi::ObjectWrap<ErofsImage> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("ErofsImage", DefineClass(env, "ErofsImage", {InstanceMethod<&ErofsImage::Abort>("abort")}));
  }

  explicit ErofsImage(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ErofsImage>(info) {
    Napi::Object options = ObjectArg(info[0], "options");
    erofs::ImageSource source;
    source.root = BytesArg(options.Get("root"), "root");
    source.lowers = BytesListArg(options.Get("lowers"), "lowers");
    Napi::Value latest = options.Get("latestMtime");
    if (!latest.IsUndefined()) source.latest_mtime = IntArg(latest, "latestMtime");
    std::shared_ptr<const HeldFd> fd = FdArg(options.Get("fd"), "fd");
    Napi::Promise result = Async<Warnings>(
        info.Env(),
        [source, fd, aborted = aborted_] {
          IsolateThread();
          return erofs::WriteImage(source, fd->Get(), [&] {
            if (*aborted) ThrowInput("ERR_ABORTED", "the image was aborted");
          });
        },
        WarningsValue, RunOnOwnThread);
    info.This().As<Napi::Object>().DefineProperty(
        Napi::PropertyDescriptor::Value("result", result, napi_enumerable));
  }

 private:
  void Abort(const Napi::CallbackInfo&) { *aborted_ = true; }

  std::shared_ptr<std::atomic<bool>> aborted_ = std::make_shared<std::atomic<bool>>(false);
};

}  // namespace

void InitErofs(Napi::Env env, Napi::Object exports) { ErofsImage::Init(env, exports); }

}  // namespace layerstack
