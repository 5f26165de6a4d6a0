// Files: batches, locks, xattrs, nodes, deletion, reading inside a root.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

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

// The members of a step. A batch makes them once: a name that is made for every look costs more than the look.
struct StepNames {
  explicit StepNames(Napi::Env env)
      : op(Name(env, "op")), path(Name(env, "path")), data(Name(env, "data")), mode(Name(env, "mode")),
        missing(Name(env, "missing")), target(Name(env, "target")), from(Name(env, "from")), to(Name(env, "to")) {}
  static Napi::String Name(Napi::Env env, const char* name) { return Napi::String::New(env, name); }

  Napi::String op, path, data, mode, missing, target, from, to;
};

BatchStep::Op OpOf(Napi::Env env, const std::string& name) {
  static constexpr std::pair<std::string_view, BatchStep::Op> kOps[] = {
      {"mkdir", BatchStep::Op::kMkdir},     {"write", BatchStep::Op::kWrite},
      {"replace", BatchStep::Op::kReplace}, {"symlink", BatchStep::Op::kSymlink},
      {"rename", BatchStep::Op::kRename},   {"unlink", BatchStep::Op::kUnlink},
      {"rmdir", BatchStep::Op::kRmdir},     {"chown", BatchStep::Op::kChown},
      {"fsync", BatchStep::Op::kFsync},     {"syncfs", BatchStep::Op::kSyncfs},
      {"exchange", BatchStep::Op::kExchange},
      {"link", BatchStep::Op::kLink},
  };
  for (const auto& [known, op] : kOps) {
    if (name == known) return op;
  }
  throw Napi::TypeError::New(env, "unknown batch step '" + name + "'");
}

template <typename Name>
bool Flag(const Napi::Object& step, const Name& name) {
  Napi::Value value = step.Get(name);
  return !value.IsUndefined() && BoolArg(value, "a flag of a step");
}

std::vector<BatchStep> StepsArg(const std::string& root, const Napi::Value& value, const StepNames& names);

// A step that is no plain file operation; empty where it is one.
std::function<void()> CallArg(const std::string& root, const std::string& op, const Napi::Object& step,
                              const StepNames& names) {
  if (op == "removeTree") return [root, path = BytesArg(step.Get(names.path), "path")] { RemoveTree(root, path); };
  if (op == "together") {
    return [root, first = StepsArg(root, step.Get("first"), names), second = StepsArg(root, step.Get("second"), names)] {
      RunTogether(root, first, second);
    };
  }
  return MountsCall(op, step);
}

BatchStep StepArg(const std::string& root, const Napi::Value& value, const StepNames& names) {
  Napi::Object object = ObjectArg(value, "step");
  BatchStep step;
  const std::string op = BytesArg(object.Get(names.op), "op");
  step.call = CallArg(root, op, object, names);
  step.op = step.call ? BatchStep::Op::kCall : OpOf(value.Env(), op);
  if (step.call) return step;
  const bool moves = step.op == BatchStep::Op::kRename || step.op == BatchStep::Op::kExchange;
  step.path = BytesArg(object.Get(moves ? names.from : names.path), "path");
  switch (step.op) {
    case BatchStep::Op::kMkdir:
      step.exist = Flag(object, "exist");
      break;
    case BatchStep::Op::kWrite:
      step.sync = Flag(object, "sync");
      step.data = BytesArg(object.Get(names.data), "data");
      break;
    case BatchStep::Op::kReplace:
      step.sync = object.Get("sync").IsUndefined() || Flag(object, "sync");
      step.data = BytesArg(object.Get(names.data), "data");
      if (!object.Get("temporary").IsUndefined()) step.dest = BytesArg(object.Get("temporary"), "temporary");
      break;
    case BatchStep::Op::kSymlink:
    case BatchStep::Op::kLink:
      step.dest = BytesArg(object.Get(names.target), "target");
      return step;
    case BatchStep::Op::kRename:
      step.dest = BytesArg(object.Get(names.to), "to");
      step.no_replace = Flag(object, "noReplace");
      return step;
    case BatchStep::Op::kExchange:
      step.dest = BytesArg(object.Get(names.to), "to");
      step.via = BytesArg(object.Get("via"), "via");
      return step;
    case BatchStep::Op::kUnlink:
    case BatchStep::Op::kRmdir:
      step.missing = Flag(object, names.missing);
      return step;
    case BatchStep::Op::kChown:
      step.uid = static_cast<uid_t>(IntArg(object.Get("uid"), "uid"));
      step.gid = static_cast<gid_t>(IntArg(object.Get("gid"), "gid"));
      return step;
    case BatchStep::Op::kFsync:
    case BatchStep::Op::kSyncfs:
    case BatchStep::Op::kCall:
      return step;
  }
  step.mode = static_cast<mode_t>(IntArg(object.Get(names.mode), "mode"));
  return step;
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
  return AsyncVoid(info.Env(), [root, steps = StepsArg(root, info[1], StepNames(info.Env()))] { RunBatch(root, steps); });
}

// The locks do not wait, so they need no thread.
template <typename Lock>
Napi::Value Locked(const Napi::CallbackInfo& info, Lock lock) {
  try {
    return Napi::Boolean::New(info.Env(), lock());
  } catch (const Failure& failure) {
    throw ToError(info.Env(), failure);
  }
}

Napi::Value TryFlockBinding(const Napi::CallbackInfo& info) {
  return Locked(info, [&] {
    return TryFlock(static_cast<int>(IntArg(info[0], "fd")), BoolArg(info[1], "exclusive"));
  });
}

Napi::Value TryRangeLockBinding(const Napi::CallbackInfo& info) {
  return Locked(info, [&] {
    return TryRangeLock(static_cast<int>(IntArg(info[0], "fd")), IntArg(info[1], "offset"),
                        BoolArg(info[2], "exclusive"));
  });
}

Napi::Value OpenRangeLockBinding(const Napi::CallbackInfo& info) {
  try {
    UniqueFd fd = OpenRangeLock(BytesArg(info[0], "path"), IntArg(info[1], "offset"), BoolArg(info[2], "exclusive"));
    if (!fd) return info.Env().Null();
    return Napi::Number::New(info.Env(), fd.release());
  } catch (const Failure& failure) {
    throw ToError(info.Env(), failure);
  }
}

Napi::Value OptionalBytes(Napi::Env env, std::optional<std::string>& bytes) {
  if (!bytes) return env.Null();
  return Napi::Buffer<char>::Copy(env, bytes->data(), bytes->size());
}

Napi::Value GetXattrBinding(const Napi::CallbackInfo& info) {
  return Async<std::optional<std::string>>(
      info.Env(), [path = BytesArg(info[0], "path"), name = BytesArg(info[1], "name")] { return GetXattr(path, name); },
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
  return AsyncVoid(info.Env(), [path = BytesArg(info[0], "path"),
                                mode = static_cast<mode_t>(IntArg(info[1], "mode")),
                                major = static_cast<unsigned>(IntArg(info[2], "major")),
                                minor = static_cast<unsigned>(IntArg(info[3], "minor"))] {
    if (Again<::mknod>(path.c_str(), mode, makedev(major, minor)) != 0) ThrowErrno(errno, "mknod", path);
  });
}

Napi::Value RemoveTreeBinding(const Napi::CallbackInfo& info) {
  return Async<int64_t>(
      info.Env(),
      [root = BytesArg(info[0], "root"),
       paths = info[1].IsArray() ? BytesListArg(info[1], "path") : std::vector<std::string>{BytesArg(info[1], "path")}] {
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

// Inode, change time in milliseconds and size of each file; NaN of those that are missing.
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
    stamps[i * 3 + 1] = static_cast<double>(st.st_ctim.tv_sec) * 1e3 + static_cast<double>(st.st_ctim.tv_nsec) / 1e6;
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
  // First without opening it: to open a device or a fifo would already do something.
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
  exports.Set("openRangeLock", Napi::Function::New<OpenRangeLockBinding>(env, "openRangeLock"));
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
