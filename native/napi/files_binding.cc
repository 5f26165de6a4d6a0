// Files: batches, locks, xattrs, nodes, deletion, reading inside a root.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>

#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "sys/batch.h"
#include "sys/lock.h"
#include "sys/resolve.h"
#include "sys/store_entry.h"
#include "sys/whole_io.h"
#include "sys/xattrs.h"
#include "tree/content_size.h"
#include "tree/remove.h"

namespace layerstack {

namespace {

// The names of a step's members, made once for a batch: making a name costs more than looking it up.
struct StepNames {
  explicit StepNames(Napi::Env env)
      : op(Name(env, "op")),
        path(Name(env, "path")),
        data(Name(env, "data")),
        mode(Name(env, "mode")),
        missing(Name(env, "missing")),
        target(Name(env, "target")),
        from(Name(env, "from")),
        to(Name(env, "to")),
        exist(Name(env, "exist")),
        sync(Name(env, "sync")) {}
  static Napi::String Name(Napi::Env env, const char* name) { return Napi::String::New(env, name); }

  Napi::String op, path, data, mode, missing, target, from, to, exist, sync;
};

std::vector<BatchStep> StepsArg(const std::string& root, const Napi::Value& value, const StepNames& names);

// A step that other parts of the core do; empty if `op` is a file operation.
std::function<void()> CallArg(const std::string& root, const std::string& op, const Napi::Object& step,
                              const StepNames& names) {
  if (op == "removeTree")
    return [root, path = BytesArg(step.Get(names.path), "path")] { RemoveTree(root, path); };
  if (op == "together") {
    return [root, first = StepsArg(root, step.Get("first"), names),
            second = StepsArg(root, step.Get("second"), names)] { RunTogether(root, first, second); };
  }
  return MountsCall(op, step);
}

// Reads the members of one step.
class StepReader {
 public:
  StepReader(const Napi::Object& step, const StepNames& names) : step_(step), names_(names) {}

  BatchStep Read(const std::string& op) const {
    if (op == "mkdir") return step::Mkdir{Path(), Mode(), Flag(names_.exist)};
    if (op == "write") return step::Write{Path(), Data(), Mode(), Flag(names_.sync)};
    if (op == "replace")
      return step::Replace{Path(), Data(), Mode(), Flag(names_.sync, true), Optional("temporary")};
    if (op == "symlink") return step::Symlink{Path(), Text(names_.target, "target")};
    if (op == "link") return step::Link{Path(), Text(names_.target, "target")};
    if (op == "rename") return step::Rename{From(), To(), Flag("noReplace")};
    if (op == "exchange") return step::Exchange{From(), To(), Optional("via")};
    if (op == "unlink") return step::Unlink{Path(), Flag(names_.missing)};
    if (op == "rmdir") return step::Rmdir{Path(), Flag(names_.missing)};
    if (op == "chown") return step::Chown{Path(), Id<uid_t>("uid"), Id<gid_t>("gid")};
    if (op == "fsync") return step::Fsync{Path()};
    if (op == "syncfs") return step::Syncfs{Path()};
    throw Napi::TypeError::New(step_.Env(), "unknown batch step '" + op + "'");
  }

 private:
  std::string Text(const Napi::String& key, const char* name) const { return BytesArg(step_.Get(key), name); }
  std::string Path() const { return Text(names_.path, "path"); }
  std::string From() const { return Text(names_.from, "from"); }
  std::string To() const { return Text(names_.to, "to"); }
  std::string Data() const { return Text(names_.data, "data"); }
  mode_t Mode() const { return static_cast<mode_t>(IntArg(step_.Get(names_.mode), "mode")); }
  template <typename Number>
  Number Id(const char* name) const {
    return static_cast<Number>(IntArg(step_.Get(name), name));
  }
  std::string Optional(const char* name) const {
    Napi::Value value = step_.Get(name);
    return value.IsUndefined() ? std::string() : BytesArg(value, name);
  }
  template <typename Name>
  bool Flag(const Name& name, bool otherwise = false) const {
    Napi::Value value = step_.Get(name);
    return value.IsUndefined() ? otherwise : BoolArg(value, "a flag of a step");
  }

  const Napi::Object& step_;
  const StepNames& names_;
};

BatchStep StepArg(const std::string& root, const Napi::Value& value, const StepNames& names) {
  Napi::Object object = ObjectArg(value, "step");
  const std::string op = BytesArg(object.Get(names.op), "op");
  if (auto run = CallArg(root, op, object, names)) return step::Call{std::move(run)};
  return StepReader(object, names).Read(op);
}

std::vector<BatchStep> StepsArg(const std::string& root, const Napi::Value& value, const StepNames& names) {
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "steps must be an array");
  Napi::Array list = value.As<Napi::Array>();
  std::vector<BatchStep> steps;
  steps.reserve(list.Length());
  for (uint32_t i = 0; i < list.Length(); ++i) {
    Napi::HandleScope scope(value.Env());
    steps.push_back(StepArg(root, list.Get(i), names));
  }
  return steps;
}

Napi::Value Batch(const Napi::CallbackInfo& info) {
  const std::string root = BytesArg(info[0], "root");
  return AsyncVoid(info.Env(),
                   [root, steps = StepsArg(root, info[1], StepNames(info.Env()))] { RunBatch(root, steps); });
}

// The locks do not wait, so they need no thread.
Napi::Value TryFlockBinding(const Napi::CallbackInfo& info) {
  const int fd = static_cast<int>(IntArg(info[0], "fd"));
  const bool exclusive = BoolArg(info[1], "exclusive");
  return Napi::Boolean::New(info.Env(), Sync(info.Env(), [&] { return TryFlock(fd, exclusive); }));
}

Napi::Value TryRangeLockBinding(const Napi::CallbackInfo& info) {
  const int fd = static_cast<int>(IntArg(info[0], "fd"));
  const int64_t offset = IntArg(info[1], "offset");
  const bool exclusive = BoolArg(info[2], "exclusive");
  return Napi::Boolean::New(info.Env(),
                            Sync(info.Env(), [&] { return TryRangeLock(fd, offset, exclusive); }));
}

// Node's own pipes between processes are sockets, which a program cannot open again by /dev/stdout.
Napi::Value MakePipeBinding(const Napi::CallbackInfo& info) {
  return Sync(info.Env(), [&]() -> Napi::Value {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) ThrowErrno(errno, "pipe2");
    Napi::Array ends = Napi::Array::New(info.Env(), 2);
    ends.Set(0u, fds[0]);
    ends.Set(1u, fds[1]);
    return ends;
  });
}

Napi::Value TryNamedRangeLockBinding(const Napi::CallbackInfo& info) {
  const int fd = static_cast<int>(IntArg(info[0], "fd"));
  const NamedLock lock = Sync(info.Env(), [&] {
    return TryNamedRangeLock(fd, BytesArg(info[1], "path"), IntArg(info[2], "offset"),
                             BoolArg(info[3], "exclusive"));
  });
  if (lock == NamedLock::kRenamed) return info.Env().Null();
  return Napi::Boolean::New(info.Env(), lock == NamedLock::kHeld);
}

Napi::Value ReleaseRangeLockBinding(const Napi::CallbackInfo& info) {
  const int fd = static_cast<int>(IntArg(info[0], "fd"));
  const int64_t offset = IntArg(info[1], "offset");
  Sync(info.Env(), [&] {
    ReleaseRangeLock(fd, offset);
    return true;
  });
  return info.Env().Undefined();
}

Napi::Value OptionalBytes(Napi::Env env, std::optional<std::string>& bytes) {
  if (!bytes) return env.Null();
  return Napi::Buffer<char>::Copy(env, bytes->data(), bytes->size());
}

Napi::Value GetXattrBinding(const Napi::CallbackInfo& info) {
  return Async<std::optional<std::string>>(
      info.Env(),
      [path = BytesArg(info[0], "path"), name = BytesArg(info[1], "name")] { return GetXattr(path, name); },
      OptionalBytes);
}

Napi::Value SetXattrBinding(const Napi::CallbackInfo& info) {
  return AsyncVoid(info.Env(), [path = BytesArg(info[0], "path"), name = BytesArg(info[1], "name"),
                                value = BytesArg(info[2], "value")] { SetXattr(path, name, value); });
}

Napi::Value ListXattrsBinding(const Napi::CallbackInfo& info) {
  return Async<std::vector<std::string>>(
      info.Env(), [path = BytesArg(info[0], "path")] { return ListXattrs(path); },
      [](Napi::Env env, std::vector<std::string>& names) -> Napi::Value {
        Napi::Array list = Napi::Array::New(env, names.size());
        for (uint32_t i = 0; i < names.size(); ++i) list.Set(i, Napi::String::New(env, names[i]));
        return list;
      });
}

Napi::Value MakeNodeBinding(const Napi::CallbackInfo& info) {
  return AsyncVoid(info.Env(),
                   [path = BytesArg(info[0], "path"), mode = static_cast<mode_t>(IntArg(info[1], "mode")),
                    major = static_cast<unsigned>(IntArg(info[2], "major")),
                    minor = static_cast<unsigned>(IntArg(info[3], "minor"))] {
                     if (Again<::mknod>(path.c_str(), mode, makedev(major, minor)) != 0)
                       ThrowErrno(errno, "mknod", path);
                   });
}

Napi::Value RemoveTreeBinding(const Napi::CallbackInfo& info) {
  return Async<int64_t>(
      info.Env(),
      [root = BytesArg(info[0], "root"), paths = info[1].IsArray()
                                                     ? BytesListArg(info[1], "path")
                                                     : std::vector<std::string>{BytesArg(info[1], "path")}] {
        int64_t removed = 0;
        for (const std::string& path : paths) removed += RemoveTree(root, path);
        return removed;
      },
      [](Napi::Env env, int64_t& removed) -> Napi::Value {
        return Napi::Number::New(env, static_cast<double>(removed));
      });
}

Napi::Value ContentSizeBinding(const Napi::CallbackInfo& info) {
  return Async<uint64_t>(
      info.Env(),
      [path = BytesArg(info[0], "path")] {
        return ContentSize(OpenEntry(path, O_RDONLY | O_DIRECTORY).get());
      },
      [](Napi::Env env, uint64_t& size) -> Napi::Value {
        return Napi::Number::New(env, static_cast<double>(size));
      });
}

// Inode, change time in milliseconds and size of each file. NaN for files that are missing.
std::vector<double> StampFiles(const std::string& directory, const std::vector<std::string>& names) {
  std::vector<double> stamps(names.size() * 3, std::numeric_limits<double>::quiet_NaN());
  UniqueFd dir(Again<::open>(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir && errno == ENOENT) return stamps;
  if (!dir) ThrowErrno(errno, "open", directory);
  for (size_t i = 0; i < names.size(); ++i) {
    struct stat st;
    if (Again<::fstatat>(dir.get(), names[i].c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      ThrowErrno(errno, "stat", directory + "/" + names[i]);
    }
    stamps[i * 3] = static_cast<double>(st.st_ino);
    stamps[i * 3 + 1] =
        static_cast<double>(st.st_ctim.tv_sec) * 1e3 + static_cast<double>(st.st_ctim.tv_nsec) / 1e6;
    stamps[i * 3 + 2] = static_cast<double>(st.st_size);
  }
  return stamps;
}

Napi::Value StampFilesBinding(const Napi::CallbackInfo& info) {
  return Async<std::vector<double>>(
      info.Env(),
      [directory = BytesArg(info[0], "directory"), names = BytesListArg(info[1], "names")] {
        return StampFiles(directory, names);
      },
      [](Napi::Env env, std::vector<double>& stamps) -> Napi::Value {
        Napi::Float64Array array = Napi::Float64Array::New(env, stamps.size());
        std::copy(stamps.begin(), stamps.end(), array.Data());
        return array;
      });
}

std::optional<std::string> ReadInRoot(const std::string& root, const std::string& path, size_t limit) {
  UniqueFd root_fd(Again<::open>(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd) ThrowErrno(errno, "open", root);
  const std::string full = root + "/" + path;
  // First without opening it: opening a device or a fifo would already do something.
  for (int flags : {O_PATH, O_RDONLY | O_NONBLOCK | O_NOCTTY}) {
    UniqueFd fd = OpenInRoot(root_fd.get(), path, flags);
    if (!fd && (errno == ENOENT || errno == ENOTDIR)) return std::nullopt;
    if (!fd) ThrowErrno(errno, "open", full);
    struct stat st;
    if (Again<::fstat>(fd.get(), &st) != 0) ThrowErrno(errno, "fstat", full);
    if (!S_ISREG(st.st_mode)) return std::nullopt;
    if (flags == O_PATH) continue;
    std::string text;
    if (!ReadAll(fd.get(), limit, &text)) ThrowErrno(errno, "read", full);
    if (text.size() > limit)
      ThrowInput("ERR_LIMIT_EXCEEDED", "a file is larger than " + std::to_string(limit) + " bytes",
                 {{"path", full}, {"limit", std::to_string(limit)}});
    return text;
  }
  return std::nullopt;
}

Napi::Value ReadFileInRootBinding(const Napi::CallbackInfo& info) {
  return Async<std::optional<std::string>>(
      info.Env(),
      [root = BytesArg(info[0], "root"), path = BytesArg(info[1], "path"),
       limit = static_cast<size_t>(IntArg(info[2], "maxBytes"))] { return ReadInRoot(root, path, limit); },
      OptionalBytes);
}

Napi::Value WriteFdBinding(const Napi::CallbackInfo& info) {
  return Async<ssize_t>(
      info.Env(),
      [fd = FdArg(info[0], "fd"), bytes = BytesArg(info[1], "bytes")] {
        std::chrono::nanoseconds patience = kPatience;
        ssize_t written = WritePatiently(fd->Get(), bytes.data(), bytes.size(), &patience);
        if (written < 0) ThrowErrno(errno, "write");
        return written;
      },
      [](Napi::Env env, ssize_t& written) -> Napi::Value {
        return Napi::Number::New(env, static_cast<double>(written));
      });
}

Napi::Value WidenPipeBinding(const Napi::CallbackInfo& info) {
  WidenPipe(static_cast<int>(IntArg(info[0], "fd")));
  return info.Env().Undefined();
}

// LAYERSTACK_CAPS (src/system/caps.ts) may forbid openat2. Native code must know before its first resolution.
void ConfigureResolver() {
  const char* caps = std::getenv("LAYERSTACK_CAPS");
  const std::string text = std::string(",") + (caps ? caps : "") + ",";
  if (text.find(",openat2=no,") != std::string::npos) SetResolver(Resolver::kWalk);
}

}  // namespace

void InitFiles(Napi::Env env, Napi::Object exports) {
  ConfigureResolver();
  exports.Set("batch", Napi::Function::New<Batch>(env, "batch"));
  exports.Set("tryFlock", Napi::Function::New<TryFlockBinding>(env, "tryFlock"));
  exports.Set("tryRangeLock", Napi::Function::New<TryRangeLockBinding>(env, "tryRangeLock"));
  exports.Set("tryNamedRangeLock", Napi::Function::New<TryNamedRangeLockBinding>(env, "tryNamedRangeLock"));
  exports.Set("releaseRangeLock", Napi::Function::New<ReleaseRangeLockBinding>(env, "releaseRangeLock"));
  exports.Set("makePipe", Napi::Function::New<MakePipeBinding>(env, "makePipe"));
  exports.Set("getXattr", Napi::Function::New<GetXattrBinding>(env, "getXattr"));
  exports.Set("setXattr", Napi::Function::New<SetXattrBinding>(env, "setXattr"));
  exports.Set("listXattrs", Napi::Function::New<ListXattrsBinding>(env, "listXattrs"));
  exports.Set("makeNode", Napi::Function::New<MakeNodeBinding>(env, "makeNode"));
  exports.Set("removeTree", Napi::Function::New<RemoveTreeBinding>(env, "removeTree"));
  exports.Set("contentSize", Napi::Function::New<ContentSizeBinding>(env, "contentSize"));
  exports.Set("stampFiles", Napi::Function::New<StampFilesBinding>(env, "stampFiles"));
  exports.Set("writeFd", Napi::Function::New<WriteFdBinding>(env, "writeFd"));
  exports.Set("widenPipe", Napi::Function::New<WidenPipeBinding>(env, "widenPipe"));
  exports.Set("readFileInRoot", Napi::Function::New<ReadFileInRootBinding>(env, "readFileInRoot"));
}

}  // namespace layerstack
