#include "napi/args.h"

#include <fcntl.h>

#include <cerrno>
#include <climits>
#include <limits>

#include "sys/failure.h"

namespace layerstack {

namespace {

constexpr size_t kShortText = 512;

[[noreturn]] void Wrong(const Napi::Value& value, const char* name, const char* expected) {
  throw Napi::TypeError::New(value.Env(), std::string(name) + " must be " + expected);
}
}  // namespace

std::string BytesArg(const Napi::Value& value, const char* name) {
  if (value.IsString()) {
    // Almost every text is short, so one call returns its length and its bytes.
    char text[kShortText];
    size_t length = 0;
    if (napi_get_value_string_utf8(value.Env(), value, text, sizeof text, &length) != napi_ok)
      throw Napi::Error::New(value.Env());
    // Node truncates a longer text, at most three bytes before the end of the buffer.
    if (length + 4 < sizeof text) return std::string(text, length);
    return value.As<Napi::String>().Utf8Value();
  }
  if (!value.IsBuffer()) Wrong(value, name, "a string or a Buffer");
  auto buffer = value.As<Napi::Buffer<char>>();
  return std::string(buffer.Data(), buffer.Length());
}

std::vector<std::string> BytesListArg(const Napi::Value& value, const char* name) {
  if (!value.IsArray()) Wrong(value, name, "an array");
  auto array = value.As<Napi::Array>();
  std::vector<std::string> list;
  list.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) list.push_back(BytesArg(array.Get(i), name));
  return list;
}

int64_t IntArg(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) Wrong(value, name, "a number");
  return value.As<Napi::Number>().Int64Value();
}

uint64_t CountArg(const Napi::Value& value, const char* name) {
  if (value.IsNumber() && value.As<Napi::Number>().DoubleValue() == std::numeric_limits<double>::infinity())
    return UINT64_MAX;
  int64_t count = IntArg(value, name);
  if (count < 0) Wrong(value, name, "a number that is not negative");
  return static_cast<uint64_t>(count);
}

bool BoolArg(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) Wrong(value, name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

Napi::Object ObjectArg(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) Wrong(value, name, "an object");
  return value.As<Napi::Object>();
}

HeldFd::HeldFd(int64_t fd) {
  errno = EBADF;
  if (fd >= 0 && fd <= INT_MAX) fd_.reset(Again<::fcntl>(static_cast<int>(fd), F_DUPFD_CLOEXEC, 0));
  if (!fd_) error_ = errno;
}

int HeldFd::Get() const {
  if (!fd_) ThrowErrno(error_, "fcntl");
  return fd_.get();
}

std::shared_ptr<const HeldFd> FdArg(const Napi::Value& value, const char* name) {
  return std::make_shared<const HeldFd>(IntArg(value, name));
}

}  // namespace layerstack
