// Failure -> JavaScript Error, shaped like Node's own system errors.
#pragma once

#include <napi.h>

#include "sys/failure.h"

namespace layerstack {

Napi::Error ToError(Napi::Env env, const Failure& failure);

// Runs `work`, which is quick, on the JavaScript thread. Its Failure becomes the exception that JavaScript
// sees.
template <typename Work>
auto Sync(Napi::Env env, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const Failure& failure) {
    throw ToError(env, failure);
  }
}

}  // namespace layerstack
