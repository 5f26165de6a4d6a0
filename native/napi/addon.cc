// Registration only.
#include <napi.h>

#include "napi/async.h"
#include "napi/bindings.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  layerstack::Mailbox::Install(env);
  layerstack::InitFiles(env, exports);
  layerstack::InitStore(env, exports);
  layerstack::InitMounts(env, exports);
  layerstack::InitCodec(env, exports);
  layerstack::InitCompress(env, exports);
  layerstack::InitLayer(env, exports);
  layerstack::InitDiff(env, exports);
  layerstack::InitCopy(env, exports);
  layerstack::InitErofs(env, exports);
  layerstack::InitSocket(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(layerstack, Init)
