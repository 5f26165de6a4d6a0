// Shared by classes that take bytes from JavaScript and give warnings.
#pragma once

#include <napi.h>

#include "pipeline/layer_input.h"
#include "tree/warnings.h"

namespace layerstack {

// `write(chunk)`: hands a copy of the chunk to `input`. The promise settles when there is room for another
// one.
Napi::Value WritePushed(const Napi::CallbackInfo& info, PushedInput& input);

// An array of {code, member, message}.
Napi::Value WarningsValue(Napi::Env env, Warnings& warnings);

}  // namespace layerstack
