// Failure -> JavaScript Error, shaped like Node's own system errors.
#pragma once

#include <napi.h>

#include "sys/failure.h"

namespace layerstack {

Napi::Error ToError(Napi::Env env, const Failure& failure);

}  // namespace layerstack
