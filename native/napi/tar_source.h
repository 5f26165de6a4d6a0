// Where the store has the tar of a layer, as JavaScript names it: `{tar}`, or `{diff, tarSplit}`.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "tree/tar_bytes.h"

namespace layerstack {

// Opens the files; on any thread.
using TarOpener = std::function<std::unique_ptr<TarBytes>()>;

TarOpener TarOpenerArg(const Napi::Object& files);

}  // namespace layerstack
