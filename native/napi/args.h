// Reading arguments. The TypeScript door (src/system/native.ts) is the only caller and is typed, so a wrong
// type here is a bug of ours: it throws a TypeError that names the argument.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

namespace layerstack {

// A path or name: a string (UTF-8) or a Buffer (raw bytes, for names that are not UTF-8).
std::string BytesArg(const Napi::Value& value, const char* name);
std::vector<std::string> BytesListArg(const Napi::Value& value, const char* name);
int64_t IntArg(const Napi::Value& value, const char* name);
bool BoolArg(const Napi::Value& value, const char* name);
Napi::Object ObjectArg(const Napi::Value& value, const char* name);

}  // namespace layerstack
