#include "napi/pushed.h"

#include <cstring>

#include "napi/async.h"

namespace layerstack {

Napi::Value WritePushed(const Napi::CallbackInfo& info, PushedInput& input) {
  Napi::Env env = info.Env();
  if (!info[0].IsTypedArray()) throw Napi::TypeError::New(env, "chunk must be a Uint8Array");
  auto bytes = info[0].As<Napi::Uint8Array>();
  auto chunk = std::make_shared<Chunk>(bytes.ByteLength());
  std::memcpy(chunk->Data(), bytes.Data(), bytes.ByteLength());
  chunk->size = bytes.ByteLength();
  Settlement<bool> room(env, [](Napi::Env e, bool&) { return e.Undefined(); });
  input.Write(std::move(chunk), [room](const Failure* failure) mutable {
    if (failure) {
      room.Reject(*failure);
    } else {
      room.Resolve(true);
    }
  });
  return room.Promise();
}

Napi::Value WarningsValue(Napi::Env env, Warnings& warnings) {
  Napi::Array list = Napi::Array::New(env);
  for (const Warning& warning : warnings.List()) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("code", warning.code);
    item.Set("member", warning.member);
    item.Set("message", warning.message);
    list.Set(list.Length(), item);
  }
  return list;
}

}  // namespace layerstack
