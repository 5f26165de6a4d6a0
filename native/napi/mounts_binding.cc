#include "napi/bindings.h"

namespace layerstack {

void InitMounts(Napi::Env, Napi::Object) {}

}  // namespace layerstack
