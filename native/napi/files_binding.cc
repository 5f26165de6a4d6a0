#include "napi/bindings.h"

namespace layerstack {

void InitFiles(Napi::Env, Napi::Object) {}

}  // namespace layerstack
