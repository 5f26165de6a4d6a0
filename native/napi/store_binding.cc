// Entries of the store. The functions that a listing calls a thousand times are synchronous: each takes some
// microseconds, and the way to another thread and back takes longer.
#include <fcntl.h>

#include <optional>

#include "napi/args.h"
#include "napi/async.h"
#include "napi/bindings.h"
#include "sys/store_entry.h"

namespace layerstack {

namespace {

Napi::Value OptionalBuffer(Napi::Env env, std::optional<std::string>& bytes) {
  if (!bytes) return env.Null();
  return Napi::Buffer<char>::Copy(env, bytes->data(), bytes->size());
}

size_t LimitArg(const Napi::Value& value) { return static_cast<size_t>(IntArg(value, "maxBytes")); }

Napi::Value ReadStoreFiles(const Napi::CallbackInfo& info) {
  using Contents = std::vector<std::optional<std::string>>;
  return Async<Contents>(
      info.Env(),
      [paths = BytesListArg(info[0], "paths"), limit = LimitArg(info[1])] {
        Contents contents;
        for (const std::string& path : paths) contents.push_back(ReadEntry(path, limit));
        return contents;
      },
      [](Napi::Env env, Contents& contents) -> Napi::Value {
        Napi::Array list = Napi::Array::New(env, contents.size());
        for (uint32_t i = 0; i < contents.size(); ++i) list.Set(i, OptionalBuffer(env, contents[i]));
        return list;
      });
}

Napi::Value ReadStoreFileSync(const Napi::CallbackInfo& info) {
  auto bytes = Sync(info.Env(), [&] { return ReadEntry(BytesArg(info[0], "path"), LimitArg(info[1])); });
  return OptionalBuffer(info.Env(), bytes);
}

Napi::Value ReadStoreLink(const Napi::CallbackInfo& info) {
  auto text = Sync(info.Env(), [&] { return ReadEntryLink(BytesArg(info[0], "path")); });
  if (!text) return info.Env().Null();
  return Napi::String::New(info.Env(), *text);
}

double Milliseconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

Napi::Value StatStoreEntry(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto st = Sync(env, [&] { return StatEntry(BytesArg(info[0], "path")); });
  if (!st) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  const char* kind = S_ISREG(st->st_mode)   ? "file"
                     : S_ISDIR(st->st_mode) ? "directory"
                     : S_ISLNK(st->st_mode) ? "link"
                                            : "other";
  object.Set("kind", kind);
  object.Set("size", static_cast<double>(st->st_size));
  object.Set("ino", static_cast<double>(st->st_ino));
  object.Set("gid", st->st_gid);
  object.Set("dev", static_cast<double>(st->st_dev));
  object.Set("mtimeMs", Milliseconds(st->st_mtim));
  object.Set("ctimeMs", Milliseconds(st->st_ctim));
  return object;
}

Napi::Value ListStoreDirectory(const Napi::CallbackInfo& info) {
  return Async<std::optional<std::vector<std::string>>>(
      info.Env(), [path = BytesArg(info[0], "path")] { return ListEntry(path); },
      [](Napi::Env env, std::optional<std::vector<std::string>>& names) -> Napi::Value {
        if (!names) return env.Null();
        Napi::Array list = Napi::Array::New(env, names->size());
        for (uint32_t i = 0; i < names->size(); ++i) list.Set(i, Napi::String::New(env, (*names)[i]));
        return list;
      });
}

Napi::Value OpenStoreFile(const Napi::CallbackInfo& info) {
  return Sync(info.Env(), [&] {
    const int flags = static_cast<int>(IntArg(info[1], "flags"));
    UniqueFd fd =
        OpenEntryFile(BytesArg(info[0], "path"), flags, static_cast<mode_t>(IntArg(info[2], "mode")));
    return Napi::Number::New(info.Env(), fd.release());
  });
}

}  // namespace

void InitStore(Napi::Env env, Napi::Object exports) {
  exports.Set("readStoreFiles", Napi::Function::New<ReadStoreFiles>(env, "readStoreFiles"));
  exports.Set("readStoreFileSync", Napi::Function::New<ReadStoreFileSync>(env, "readStoreFileSync"));
  exports.Set("readStoreLink", Napi::Function::New<ReadStoreLink>(env, "readStoreLink"));
  exports.Set("statStoreEntry", Napi::Function::New<StatStoreEntry>(env, "statStoreEntry"));
  exports.Set("listStoreDirectory", Napi::Function::New<ListStoreDirectory>(env, "listStoreDirectory"));
  exports.Set("openStoreFile", Napi::Function::New<OpenStoreFile>(env, "openStoreFile"));
}

}  // namespace layerstack
