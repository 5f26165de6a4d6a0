// What classes that take bytes from JavaScript and warn have in common.
#pragma once

#include <napi.h>

#include "pipeline/layer_input.h"
#include "tree/warnings.h"

namespace layerstack {

// `write(chunk)`: hands a copy of the chunk to `input`; the promise settles when there is room for another.
Napi::Value WritePushed(const Napi::CallbackInfo& info, PushedInput& input);

// An array of {code, member, message}.
Napi::Value WarningsValue(Napi::Env env, Warnings& warnings);

}  // namespace layerstack
