// Reads arguments. The only caller, src/system/native.ts, is typed, so a wrong type is a bug of ours: it
// throws a TypeError that names the argument.
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
// A number that is not negative. Infinity stands for "no bound" and gives the largest.
uint64_t CountArg(const Napi::Value& value, const char* name);
bool BoolArg(const Napi::Value& value, const char* name);
Napi::Object ObjectArg(const Napi::Value& value, const char* name);

// A duplicate of the caller's fd. The caller may close theirs, and the kernel may reuse the number, while a
// thread still uses this one.
class HeldFd {
 public:
  explicit HeldFd(int64_t fd);
  // Throws the errno if the caller's fd was not open or could not be duplicated.
  int Get() const;

 private:
  UniqueFd fd_;
  int error_ = 0;
};
std::shared_ptr<const HeldFd> FdArg(const Napi::Value& value, const char* name);

}  // namespace layerstack
