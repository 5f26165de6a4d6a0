#include "erofs/packed_layer.h"
#include "format/tar_index.h"
#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "napi/limits.h"
#include "napi/pushed.h"
#include "pipeline/layer_job.h"
#include "pipeline/tree_input.h"

namespace layerstack {

namespace {

Napi::Number Count(Napi::Env env, uint64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

struct LayerTarget {
  std::unique_ptr<LayerSink> sink;
  std::shared_ptr<Clones> clones;  // null where files of a directory are not cloned
  uint64_t max_bytes = 0;
};

// `{tar, index}`: a packed layer. `{diff, tarSplit}`: an extracted one, which takes clones of the files of a
// directory.
LayerTarget ReadTarget(const Napi::Object& options, bool from_directory) {
  Napi::Object limits = ObjectArg(options.Get("limits"), "limits");
  LayerTarget target;
  target.max_bytes = CountArg(limits.Get("maxBytes"), "limits.maxBytes");
  if (options.Has("tar")) {
    target.sink = std::make_unique<erofs::PackedLayer>(erofs::PackedLayer::Options{
        BytesArg(options.Get("tar"), "tar"), BytesArg(options.Get("index"), "index"), TarLimitsArg(limits),
        target.max_bytes});
    return target;
  }
  const std::string diff = BytesArg(options.Get("diff"), "diff");
  if (from_directory) target.clones = std::make_shared<Clones>(diff);
  target.sink = std::make_unique<DirectorySink>(
      DirectorySink::Options{diff, BytesArg(options.Get("tarSplit"), "tarSplit"), TarLimitsArg(limits),
                             target.max_bytes, target.clones});
  return target;
}

TreeKind DirectoryKindArg(const Napi::Value& value) {
  const std::string name = BytesArg(value, "source.kind");
  if (name == "upper") return TreeKind::kUpper;
  if (name == "plain") return TreeKind::kPlain;
  throw Napi::TypeError::New(value.Env(), "source.kind must be 'upper' or 'plain'");
}

// A range of an open file, or a directory whose tar is made on the way.
std::unique_ptr<LayerInput> ReadSource(const Napi::Object& source, const LayerTarget& target) {
  if (source.Has("directory")) {
    LayerTarOptions options;
    options.clones = target.clones;
    options.kind = DirectoryKindArg(source.Get("kind"));
    Napi::Value latest = source.Get("latestMtime");
    if (!latest.IsUndefined()) options.latest_mtime = IntArg(latest, "source.latestMtime");
    return std::make_unique<TreeInput>(BytesArg(source.Get("directory"), "source.directory"),
                                       std::move(options));
  }
  int fd = static_cast<int>(IntArg(source.Get("fd"), "source.fd"));
  uint64_t offset = CountArg(source.Get("offset"), "source.offset");
  uint64_t size = CountArg(source.Get("size"), "source.size");
  return Sync(source.Env(), [&] { return std::make_unique<FileInput>(fd, offset, size); });
}

Napi::Value AppliedToValue(Napi::Env env, AppliedLayer& layer) {
  Napi::Object value = Napi::Object::New(env);
  value.Set("diffId", "sha256:" + layer.diff_id);
  value.Set("blobDigest", "sha256:" + layer.blob_digest);
  value.Set("blobSize", Count(env, layer.blob_size));
  value.Set("tarSize", Count(env, layer.tar_size));
  value.Set("compression", CompressionName(layer.compression));
  value.Set("entries", Count(env, layer.entries));
  value.Set("contentSize", Count(env, layer.content_size));
  value.Set("holeBytes", Count(env, layer.hole_bytes));
  value.Set("warnings", WarningsValue(env, layer.warnings));
  value.Set("warningCount", Count(env, layer.warnings.Count()));
  return value;
}

class LayerApply : public Napi::ObjectWrap<LayerApply> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("LayerApply", DefineClass(env, "LayerApply",
                                          {InstanceMethod<&LayerApply::Write>("write"),
                                           InstanceMethod<&LayerApply::End>("end"),
                                           InstanceMethod<&LayerApply::Abort>("abort"),
                                           InstanceMethod<&LayerApply::BytesRead>("bytesRead")}));
  }

  explicit LayerApply(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LayerApply>(info) {
    Napi::Env env = info.Env();
    Napi::Object options = ObjectArg(info[0], "options");
    Napi::Value source = options.Get("source");
    const bool from_directory = source.IsObject() && source.As<Napi::Object>().Has("directory");
    LayerTarget target = ReadTarget(options, from_directory);
    std::unique_ptr<LayerInput> input;
    if (source.IsUndefined()) {
      auto pushed = std::make_unique<PushedInput>();
      pushed_ = pushed.get();
      input = std::move(pushed);
    } else {
      input = ReadSource(ObjectArg(source, "source"), target);
    }
    Settlement<AppliedLayer> result(env, AppliedToValue);
    info.This().As<Napi::Object>().DefineProperty(
        Napi::PropertyDescriptor::Value("result", result.Promise(), napi_enumerable));
    LayerJobOptions job{std::move(target.sink), target.max_bytes};
    job_ = LayerJob::Start(std::move(job), std::move(input), [result](Outcome<AppliedLayer> layer) mutable {
      result.Settle(std::move(layer));
    });
  }

  // Dropped by JavaScript before `end`: no more bytes can come, so the job must not wait for them. A job that
  // has all its input continues without this object: its promise may still be awaited.
  ~LayerApply() override {
    if (job_ && pushed_ && !ended_) job_->Abort();
  }

 private:
  Napi::Value Write(const Napi::CallbackInfo& info) {
    if (!pushed_) throw Napi::TypeError::New(info.Env(), "this layer has a source of its own");
    return WritePushed(info, *pushed_);
  }

  void End(const Napi::CallbackInfo&) {
    ended_ = true;
    if (pushed_) pushed_->End();
  }
  void Abort(const Napi::CallbackInfo&) { job_->Abort(); }
  Napi::Value BytesRead(const Napi::CallbackInfo& info) { return Count(info.Env(), job_->BytesRead()); }

  std::shared_ptr<LayerJob> job_;
  PushedInput* pushed_ = nullptr;  // the job's input, if it is pushed
  bool ended_ = false;
};

const char* TypeName(char type) {
  switch (type) {
    case '0':
    case '7':
    case 'S': return "file";
    case '1': return "hardlink";
    case '2': return "symlink";
    case '5': return "directory";
    default: return "other";
  }
}

Napi::Value IndexArchive(const Napi::CallbackInfo& info) {
  int fd = static_cast<int>(IntArg(info[0], "fd"));
  uint64_t max_members = CountArg(info[1], "maxMembers");
  using Index = std::vector<TarIndexEntry>;
  return Async<Index>(
      info.Env(), [fd, max_members] { return IndexTar(fd, max_members); },
      [](Napi::Env env, Index& index) {
        Napi::Array members = Napi::Array::New(env, index.size());
        for (uint32_t i = 0; i < index.size(); ++i) {
          Napi::Object member = Napi::Object::New(env);
          member.Set("name", index[i].name);
          member.Set("type", TypeName(index[i].type));
          member.Set("linkname", index[i].linkname);
          member.Set("offset", Count(env, index[i].offset));
          member.Set("size", Count(env, index[i].size));
          members.Set(i, member);
        }
        return members;
      });
}

}  // namespace

void InitLayer(Napi::Env env, Napi::Object exports) {
  LayerApply::Init(env, exports);
  exports.Set("indexArchive", Napi::Function::New(env, IndexArchive, "indexArchive"));
}

}  // namespace layerstack
