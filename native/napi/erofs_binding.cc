// A root file system as an EROFS image, indexes over tars, and the comparison of a layer with its tar.
#include <atomic>
#include <memory>

#include "erofs/image.h"
#include "erofs/index.h"
#include "erofs/layer_comparison.h"
#include "erofs/probe.h"
#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "napi/limits.h"
#include "napi/pushed.h"
#include "sys/erofs_mount.h"
#include "sys/failure.h"
#include "sys/fs_context.h"
#include "sys/thread_pool.h"

namespace layerstack {

namespace {

using StopFlag = std::shared_ptr<std::atomic<bool>>;

void ThrowIfSet(const StopFlag& stop) {
  if (*stop) ThrowInput("ERR_ABORTED", "the work was aborted");
}

void SetResult(const Napi::CallbackInfo& info, Napi::Promise result) {
  info.This().As<Napi::Object>().DefineProperty(
      Napi::PropertyDescriptor::Value("result", result, napi_enumerable));
}

// `ErofsImage` of native.ts. Its time depends on the size of the tree, so it has a thread of its own.
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
    Napi::Value root = options.Get("rootMtime");
    if (!root.IsUndefined()) source.root_mtime = IntArg(root, "rootMtime");
    source.narrow_times = BoolArg(options.Get("narrowTimes"), "narrowTimes");
    std::shared_ptr<const HeldFd> fd = FdArg(options.Get("fd"), "fd");
    Napi::Promise result = Async<Warnings>(
        info.Env(),
        [source, fd, stop = stop_] {
          IsolateThread();
          return erofs::WriteImage(source, fd->Get(), [&] { ThrowIfSet(stop); });
        },
        WarningsValue, RunOnOwnThread);
    SetResult(info, result);
  }

 private:
  void Abort(const Napi::CallbackInfo&) { *stop_ = true; }

  StopFlag stop_ = std::make_shared<std::atomic<bool>>(false);
};

// The files of an index, open for as long as it is written.
struct IndexFiles {
  std::shared_ptr<const HeldFd> index;
  std::vector<std::shared_ptr<const HeldFd>> devices;
};

erofs::IndexSource IndexSourceArg(const Napi::Object& options, IndexFiles& files) {
  erofs::IndexSource source;
  files.index = FdArg(options.Get("fd"), "fd");
  Napi::Array devices = options.Get("devices").As<Napi::Array>();
  for (uint32_t i = 0; i < devices.Length(); ++i) {
    Napi::Object device = ObjectArg(devices.Get(i), "devices");
    files.devices.push_back(FdArg(device.Get("fd"), "devices.fd"));
    source.devices.push_back(
        {-1, CountArg(device.Get("size"), "devices.size"), BytesArg(device.Get("tag"), "devices.tag")});
  }
  Napi::Array layers = options.Get("layers").As<Napi::Array>();
  for (uint32_t i = 0; i < layers.Length(); ++i) {
    Napi::Object layer = ObjectArg(layers.Get(i), "layers");
    const uint64_t device = CountArg(layer.Get("device"), "layers.device");
    if (device >= source.devices.size())
      throw Napi::RangeError::New(options.Env(), "layers.device is not the number of a device");
    source.layers.push_back({static_cast<uint16_t>(device + 1),
                             CountArg(layer.Get("offset"), "layers.offset"),
                             CountArg(layer.Get("size"), "layers.size")});
  }
  source.hashed = BoolArg(options.Get("hashed"), "hashed");
  Napi::Value whole = options.Get("whole");
  if (!whole.IsUndefined()) source.whole = BoolArg(whole, "whole");
  Napi::Object limits = ObjectArg(options.Get("limits"), "limits");
  source.max_bytes = CountArg(limits.Get("maxBytes"), "limits.maxBytes");
  source.limits = TarLimitsArg(limits);
  return source;
}

Napi::Value IndexedValue(Napi::Env env, erofs::Indexed& indexed) {
  Napi::Object value = Napi::Object::New(env);
  Napi::Array diff_ids = Napi::Array::New(env, indexed.diff_ids.size());
  for (uint32_t i = 0; i < indexed.diff_ids.size(); ++i) {
    const std::string& hex = indexed.diff_ids[i];
    diff_ids.Set(i, hex.empty() ? env.Null() : Napi::Value(Napi::String::New(env, "sha256:" + hex)));
  }
  value.Set("diffIds", diff_ids);
  value.Set("warnings", WarningsValue(env, indexed.warnings));
  return value;
}

// `ErofsIndex` of native.ts. If it hashes, its time depends on the size of the tars, so it has a thread of
// its own.
class ErofsIndex : public Napi::ObjectWrap<ErofsIndex> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("ErofsIndex", DefineClass(env, "ErofsIndex", {InstanceMethod<&ErofsIndex::Abort>("abort")}));
  }

  explicit ErofsIndex(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ErofsIndex>(info) {
    IndexFiles files;
    erofs::IndexSource source = IndexSourceArg(ObjectArg(info[0], "options"), files);
    Napi::Promise result = Async<erofs::Indexed>(
        info.Env(),
        [source, files, stop = stop_]() mutable {
          for (size_t i = 0; i < files.devices.size(); ++i) source.devices[i].fd = files.devices[i]->Get();
          return erofs::WriteIndex(source, files.index->Get(), [&] { ThrowIfSet(stop); });
        },
        IndexedValue, RunOnOwnThread);
    SetResult(info, result);
  }

 private:
  void Abort(const Napi::CallbackInfo&) { *stop_ = true; }

  StopFlag stop_ = std::make_shared<std::atomic<bool>>(false);
};

const char* DifferenceName(erofs::Difference::Kind kind) {
  switch (kind) {
    case erofs::Difference::Kind::kContent: return "content";
    case erofs::Difference::Kind::kTree: return "tree";
    case erofs::Difference::Kind::kMetadata: return "metadata";
  }
  return "";
}

Napi::Value ComparisonValue(Napi::Env env, erofs::Comparison& comparison) {
  Napi::Array differences = Napi::Array::New(env, comparison.differences.size());
  for (uint32_t i = 0; i < comparison.differences.size(); ++i) {
    const erofs::Difference& difference = comparison.differences[i];
    Napi::Object value = Napi::Object::New(env);
    value.Set("kind", DifferenceName(difference.kind));
    value.Set("path", difference.path);
    value.Set("what", difference.what);
    value.Set("repaired", difference.repaired);
    differences.Set(i, value);
  }
  Napi::Object value = Napi::Object::New(env);
  value.Set("proven", comparison.proven);
  value.Set("digest", "sha256:" + comparison.digest);
  value.Set("differences", differences);
  value.Set("count", static_cast<double>(comparison.count));
  value.Set("metadata", static_cast<double>(comparison.metadata));
  return value;
}

// `LayerComparison` of native.ts. It takes as long as the layer is large.
class LayerComparison : public Napi::ObjectWrap<LayerComparison> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("LayerComparison",
                DefineClass(env, "LayerComparison", {InstanceMethod<&LayerComparison::Abort>("abort")}));
  }

  explicit LayerComparison(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LayerComparison>(info) {
    Napi::Object options = ObjectArg(info[0], "options");
    erofs::ComparisonSource source;
    source.diff = BytesArg(options.Get("diff"), "diff");
    source.tar_split = BytesArg(options.Get("tarSplit"), "tarSplit");
    source.diff_id = BytesArg(options.Get("diffId"), "diffId").substr(sizeof "sha256:" - 1);
    source.contents = BoolArg(options.Get("contents"), "contents");
    source.of_upper = BoolArg(options.Get("ofUpper"), "ofUpper");
    source.stop_early = BoolArg(options.Get("stopEarly"), "stopEarly");
    source.first_uid = options.Get("firstUid").As<Napi::Number>().Uint32Value();
    source.first_gid = options.Get("firstGid").As<Napi::Number>().Uint32Value();
    source.set_metadata = BoolArg(options.Get("setMetadata"), "setMetadata");
    source.rate = static_cast<uint64_t>(IntArg(options.Get("rate"), "rate"));
    Napi::Promise result = Async<erofs::Comparison>(
        info.Env(), [source, stop = stop_] { return erofs::CompareLayer(source, [&] { ThrowIfSet(stop); }); },
        ComparisonValue, RunOnOwnThread);
    SetResult(info, result);
  }

 private:
  void Abort(const Napi::CallbackInfo&) { *stop_ = true; }

  StopFlag stop_ = std::make_shared<std::atomic<bool>>(false);
};

constexpr char kFileMethod[] = "file";
constexpr char kLoopMethod[] = "loop";

ErofsMethod ErofsMethodArg(const Napi::Value& value) {
  const std::string name = BytesArg(value, "method");
  if (name == kFileMethod) return ErofsMethod::kFile;
  if (name == kLoopMethod) return ErofsMethod::kLoop;
  throw Napi::TypeError::New(value.Env(), "unknown method to mount EROFS '" + name + "'");
}

// The files of a mount, and the method.
struct MountSource {
  IndexFiles files;
  ErofsMethod method;

  UniqueFd Open() const {
    std::vector<int> fds;
    for (const auto& device : files.devices) fds.push_back(device->Get());
    return OpenErofs(files.index->Get(), fds, method);
  }
};

MountSource MountSourceArg(const Napi::Object& mount) {
  MountSource source{{}, ErofsMethodArg(mount.Get("method"))};
  source.files.index = FdArg(mount.Get("fd"), "fd");
  Napi::Array devices = mount.Get("devices").As<Napi::Array>();
  for (uint32_t i = 0; i < devices.Length(); ++i)
    source.files.devices.push_back(FdArg(devices.Get(i), "devices"));
  return source;
}

Napi::Value MountErofsBinding(const Napi::CallbackInfo& info) {
  Napi::Object mount = ObjectArg(info[0], "mount");
  return AsyncVoid(info.Env(),
                   [source = MountSourceArg(mount), target = BytesArg(mount.Get("target"), "target")] {
                     const UniqueFd made = source.Open();
                     if (!AttachMount(made.get(), target)) ThrowErrno(errno, "move_mount", target);
                   });
}

Napi::Value OpenErofsBinding(const Napi::CallbackInfo& info) {
  return Async<UniqueFd>(
      info.Env(), [source = MountSourceArg(ObjectArg(info[0], "mount"))] { return source.Open(); },
      [](Napi::Env env, UniqueFd& fd) -> Napi::Value { return Napi::Number::New(env, fd.release()); });
}

Napi::Value ProbeErofsBinding(const Napi::CallbackInfo& info) {
  using Method = std::optional<ErofsMethod>;
  return Async<Method>(
      info.Env(), [dir = BytesArg(info[0], "dir")] { return erofs::ProbeMethod(dir); },
      [](Napi::Env env, Method& method) -> Napi::Value {
        if (!method) return env.Null();
        return Napi::String::New(env, *method == ErofsMethod::kFile ? kFileMethod : kLoopMethod);
      });
}

}  // namespace

void InitErofs(Napi::Env env, Napi::Object exports) {
  ErofsImage::Init(env, exports);
  ErofsIndex::Init(env, exports);
  LayerComparison::Init(env, exports);
  exports.Set("mountErofs", Napi::Function::New<MountErofsBinding>(env, "mountErofs"));
  exports.Set("openErofs", Napi::Function::New<OpenErofsBinding>(env, "openErofs"));
  exports.Set("probeErofs", Napi::Function::New<ProbeErofsBinding>(env, "probeErofs"));
}

}  // namespace layerstack
