// The one exception type of the native core. It crosses threads by value and becomes, in napi/, an
// Error shaped like Node's own (errno, code, syscall, path, dest) or, when `errnum` is 0, an Error whose
// `code` is one of layerstack's (ERR_...) with the facts as own properties.
#pragma once

#include <cerrno>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace layerstack {

class Failure : public std::exception {
 public:
  int errnum = 0;       // positive errno, or 0 when the input is at fault and not the system
  std::string code;     // "ENOENT" or "ERR_LAYER_INVALID"
  std::string message;  // without the code
  std::string syscall;
  std::string path;
  std::string dest;
  int step = -1;  // of a batch: which of its steps failed
  std::vector<std::pair<std::string, std::string>> facts;  // extra own properties, e.g. {"member", "etc/x"}

  const char* what() const noexcept override { return message.c_str(); }
};

// The symbolic name ("EUCLEAN") and text of an errno; our own table, since libuv has none for several
// errors that file systems below a store do return.
const char* ErrnoName(int errnum);
std::string ErrnoText(int errnum);

// A system call failed with `errnum` (positive).
[[noreturn]] void ThrowErrno(int errnum, const char* syscall, std::string path = {}, std::string dest = {});
// The input is at fault: `code` is an ERR_... code of src/core/errors.ts.
[[noreturn]] void ThrowInput(std::string code, std::string message,
                             std::vector<std::pair<std::string, std::string>> facts = {});

// Runs `work`; what it throws as a Failure.
std::optional<Failure> Caught(const std::function<void()>& work);

// Repeats `call` while it is interrupted; the result and errno are the last call's.
template <typename Call>
auto Retry(Call call) -> decltype(call()) {
  for (;;) {
    auto result = call();
    if (result != static_cast<decltype(result)>(-1) || errno != EINTR) return result;
  }
}

// A system call, repeated while it is interrupted: `Again<::mkdirat>(dir, name, mode)`. All are made so but close(2), which
// has closed the fd also where it says EINTR, and connect(2). Signals end no call here, and file systems in user space or on a
// network may interrupt any.
template <auto kCall, typename... Args>
auto Again(Args... args) {
  return Retry([&] { return kCall(args...); });
}

}  // namespace layerstack
