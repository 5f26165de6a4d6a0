#include "napi/bindings.h"

namespace layerstack {

void InitLayer(Napi::Env, Napi::Object) {}

}  // namespace layerstack
