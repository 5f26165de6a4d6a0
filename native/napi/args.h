// Reading arguments. The TypeScript door (src/system/native.ts) is the only caller and is typed, so a wrong
// type here is a bug of ours: it throws a TypeError that names the argument.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sys/fd.h"

namespace layerstack {

// A path or name: a string (UTF-8) or a Buffer (raw bytes, for names that are not UTF-8).
std::string BytesArg(const Napi::Value& value, const char* name);
std::vector<std::string> BytesListArg(const Napi::Value& value, const char* name);
int64_t IntArg(const Napi::Value& value, const char* name);
// Not negative; Infinity stands for "no bound", and is the largest.
uint64_t CountArg(const Napi::Value& value, const char* name);
bool BoolArg(const Napi::Value& value, const char* name);
Napi::Object ObjectArg(const Napi::Value& value, const char* name);

// A file that the caller has open, under an fd of our own: his may be closed, and its number go to another file, while a
// thread still uses it.
class HeldFd {
 public:
  explicit HeldFd(int64_t fd);
  // Throws the errno where the caller's was not open, or no other could be had.
  int Get() const;

 private:
  UniqueFd fd_;
  int error_ = 0;
};
std::shared_ptr<const HeldFd> FdArg(const Napi::Value& value, const char* name);

}  // namespace layerstack
