#include "napi/bindings.h"

namespace layerstack {

void InitCodec(Napi::Env, Napi::Object) {}

}  // namespace layerstack
