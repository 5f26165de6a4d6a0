// Mounts, probes, and the trees that stand in for mounts.
#include "codec/library.h"
#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "sys/mount_uses.h"
#include "sys/overlay_mount.h"
#include "sys/probe.h"
#include "tree/copy_upper.h"
#include "tree/empty_copy.h"
#include "tree/flatten.h"
#include "tree/init_layer.h"

namespace layerstack {

namespace {

MountMethod MethodArg(const Napi::Value& value) {
  const std::string name = BytesArg(value, "method");
  if (name == "fsconfig") return MountMethod::kFsconfig;
  if (name == "mount") return MountMethod::kMount;
  if (name == "flat") return MountMethod::kFlat;
  throw Napi::TypeError::New(value.Env(), "unknown mount method '" + name + "'");
}

std::string OptionalBytesArg(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  return value.IsUndefined() ? std::string() : BytesArg(value, name);
}

OverlayMount OverlayMountArg(const Napi::Value& value) {
  Napi::Object object = ObjectArg(value, "mount");
  OverlayMount mount;
  mount.root = BytesArg(object.Get("root"), "root");
  mount.target = BytesArg(object.Get("target"), "target");
  mount.lowers = BytesListArg(object.Get("lowers"), "lowers");
  mount.lower_file = OptionalBytesArg(object, "lowerFile");
  mount.upper = OptionalBytesArg(object, "upper");
  mount.work = OptionalBytesArg(object, "work");
  Napi::Value read_only = object.Get("readOnly");
  mount.read_only = !read_only.IsUndefined() && BoolArg(read_only, "readOnly");
  mount.method = MethodArg(object.Get("method"));
  mount.options = BytesListArg(object.Get("options"), "options");
  return mount;
}

Napi::Value MountOverlayBinding(const Napi::CallbackInfo& info) {
  return AsyncVoid(info.Env(), [mount = OverlayMountArg(info[0])] { MountOverlay(mount); });
}

Napi::Value UnmountBinding(const Napi::CallbackInfo& info) {
  return Async<bool>(
      info.Env(),
      [target = BytesArg(info[0], "target"), detach = BoolArg(info[1], "detach")] {
        return Unmount(target, detach);
      },
      [](Napi::Env env, bool& unmounted) -> Napi::Value { return Napi::Boolean::New(env, unmounted); });
}

Napi::Value MountStateBinding(const Napi::CallbackInfo& info) {
  return Async<MountState>(
      info.Env(), [path = BytesArg(info[0], "path")] { return StateOf(path); },
      [](Napi::Env env, MountState& state) -> Napi::Value {
        const char* name = state == MountState::kNone      ? "none"
                           : state == MountState::kOverlay ? "overlay"
                                                           : "other";
        return Napi::String::New(env, name);
      });
}

Napi::Array OthersArray(Napi::Env env, const std::vector<MountUses::Other>& others) {
  Napi::Array list = Napi::Array::New(env);
  for (const MountUses::Other& other : others) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("pid", other.pid);
    object.Set("command", other.command);
    object.Set("path", other.path);
    object.Set("own", other.own);
    object.Set("copy", other.copy);
    list.Set(list.Length(), object);
  }
  return list;
}

Napi::Array UsersArray(Napi::Env env, const std::vector<MountUses::User>& users) {
  Napi::Array list = Napi::Array::New(env);
  for (const MountUses::User& user : users) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("pid", user.pid);
    object.Set("command", user.command);
    object.Set("how", user.how);
    object.Set("own", user.own);
    list.Set(list.Length(), object);
  }
  return list;
}

Napi::Value MountUsesBinding(const Napi::CallbackInfo& info) {
  return Async<MountUses>(
      info.Env(),
      [target = BytesArg(info[0], "target"), everyone = BoolArg(info[1], "everyone")] {
        return FindMountUses(target, everyone);
      },
      [](Napi::Env env, MountUses& uses) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("others", OthersArray(env, uses.others));
        Napi::Array below = Napi::Array::New(env);
        for (const std::string& path : uses.below) below.Set(below.Length(), path);
        object.Set("below", below);
        object.Set("users", UsersArray(env, uses.users));
        return object;
      });
}

Napi::Value ProbeObject(Napi::Env env, Probe& probe) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kernel", probe.kernel);
  object.Set("uid", probe.uid);
  object.Set("sysAdmin", probe.sys_admin);
  object.Set("fsType", probe.fs_type);
  object.Set("dType", probe.d_type);
  object.Set("trustedXattr", probe.trusted_xattr);
  object.Set("whiteouts", probe.whiteouts);
  object.Set("overlay", probe.overlay);
  object.Set("newMountApi", probe.new_mount_api);
  object.Set("lowerdirAppend", probe.lowerdir_append);
  object.Set("multipleLowers", probe.multiple_lowers);
  object.Set("indexParameter", probe.index_parameter);
  object.Set("redirectDir", probe.redirect_dir);
  object.Set("metacopy", probe.metacopy);
  object.Set("openat2", probe.openat2);
  object.Set("sha256", Sha256Source());
  object.Set("inflate", InflateSource());
  object.Set("zstd", ZstdSource());
  object.Set("libdeflate", LibdeflateSource());
  return object;
}

Napi::Value ProbeBinding(const Napi::CallbackInfo& info) {
  return Async<Probe>(
      info.Env(), [dir = BytesArg(info[0], "dir")] { return ProbeBelow(dir); }, ProbeObject);
}

Napi::Value PopulateInitBinding(const Napi::CallbackInfo& info) {
  return AsyncVoid(info.Env(), [root = BytesArg(info[0], "root"), lowers = BytesListArg(info[1], "lowers"),
                                upper = BytesArg(info[2], "upper")] { PopulateInit(root, lowers, upper); });
}

Napi::Value FlattenBinding(const Napi::CallbackInfo& info) {
  return AsyncVoid(info.Env(), [root = BytesArg(info[0], "root"), lowers = BytesListArg(info[1], "lowers"),
                                target = BytesArg(info[2], "target")] { Flatten(root, lowers, target); });
}

}  // namespace

std::function<void()> MountsCall(const std::string& op, const Napi::Object& step) {
  if (op == "mount") return [mount = OverlayMountArg(step.Get("mount"))] { MountOverlay(mount); };
  if (op == "unmount") {
    return [target = BytesArg(step.Get("target"), "target"), detach = BoolArg(step.Get("detach"), "detach")] {
      Unmount(target, detach);
    };
  }
  if (op == "unmountBehind")
    return [target = BytesArg(step.Get("target"), "target")] { UnmountBehind(target); };
  if (op == "mountReadOnly") {
    return [target = BytesArg(step.Get("target"), "target"),
            read_only = BoolArg(step.Get("readOnly"), "readOnly")] { SetMountReadOnly(target, read_only); };
  }
  if (op == "fileSystemReadOnly")
    return [target = BytesArg(step.Get("target"), "target")] { SetFileSystemReadOnly(target); };
  if (op == "copyUpper") {
    return [root = BytesArg(step.Get("root"), "root"), from = BytesArg(step.Get("from"), "from"),
            to = BytesArg(step.Get("to"), "to")] { CopyUpper(root, from, to); };
  }
  if (op == "populateInit") {
    return [root = BytesArg(step.Get("root"), "root"), lowers = BytesListArg(step.Get("lowers"), "lowers"),
            upper = BytesArg(step.Get("upper"), "upper")] { PopulateInit(root, lowers, upper); };
  }
  if (op == "makeDirectory") {
    return [root = BytesArg(step.Get("root"), "root"), lowers = BytesListArg(step.Get("lowers"), "lowers"),
            upper = BytesArg(step.Get("upper"), "upper"),
            path = BytesArg(step.Get("path"), "path")] { MakeDirectory(root, lowers, upper, path); };
  }
  if (op == "emptyCopy") {
    return [root = BytesArg(step.Get("root"), "root"), from = BytesArg(step.Get("from"), "from"),
            to = BytesArg(step.Get("to"), "to")] { MakeEmptyCopy(root, from, to); };
  }
  if (op == "mergeUppers") {
    return [root = BytesArg(step.Get("root"), "root"), uppers = BytesListArg(step.Get("uppers"), "uppers"),
            lowers = BytesListArg(step.Get("lowers"), "lowers"),
            to = BytesArg(step.Get("to"), "to")] { MergeUppers(root, uppers, lowers, to); };
  }
  return nullptr;
}

void InitMounts(Napi::Env env, Napi::Object exports) {
  exports.Set("mountOverlay", Napi::Function::New<MountOverlayBinding>(env, "mountOverlay"));
  exports.Set("unmount", Napi::Function::New<UnmountBinding>(env, "unmount"));
  exports.Set("mountState", Napi::Function::New<MountStateBinding>(env, "mountState"));
  exports.Set("mountUses", Napi::Function::New<MountUsesBinding>(env, "mountUses"));
  exports.Set("probe", Napi::Function::New<ProbeBinding>(env, "probe"));
  exports.Set("populateInit", Napi::Function::New<PopulateInitBinding>(env, "populateInit"));
  exports.Set("flatten", Napi::Function::New<FlattenBinding>(env, "flatten"));
}

}  // namespace layerstack
