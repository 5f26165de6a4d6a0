#include "napi/error.h"

namespace layerstack {

Napi::Error ToError(Napi::Env env, const Failure& failure) {
  std::string text = failure.message;
  if (failure.errnum != 0) {
    text = failure.code + ": " + text + ", " + failure.syscall;
    if (!failure.path.empty()) text += " '" + failure.path + "'";
    if (!failure.dest.empty()) text += " -> '" + failure.dest + "'";
  }
  Napi::Error error = Napi::Error::New(env, text);
  Napi::Object object = error.Value();
  if (failure.errnum != 0) object.Set("errno", Napi::Number::New(env, -failure.errnum));
  object.Set("code", Napi::String::New(env, failure.code));
  if (!failure.syscall.empty()) object.Set("syscall", Napi::String::New(env, failure.syscall));
  if (!failure.path.empty()) object.Set("path", Napi::String::New(env, failure.path));
  if (!failure.dest.empty()) object.Set("dest", Napi::String::New(env, failure.dest));
  if (failure.step >= 0) object.Set("step", Napi::Number::New(env, failure.step));
  for (const auto& [name, value] : failure.facts) {
    if (name == "limit")  // the one fact that is typed as a number (ErrorFacts)
      object.Set(name, Napi::Number::New(env, std::stod(value)));
    else
      object.Set(name, Napi::String::New(env, value));
  }
  return error;
}

}  // namespace layerstack
