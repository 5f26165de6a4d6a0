// The one exception type of the native core. It crosses threads by value. napi/ turns it into an Error shaped
// like Node's own (errno, code, syscall, path, dest) or, when `errnum` is 0, into an Error whose `code` is
// one of layerstack's (ERR_...) with the facts as own properties.
#pragma once

#include <cerrno>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace layerstack {

class Failure : public std::exception {
 public:
  using Facts = std::vector<std::pair<std::string, std::string>>;

  // The system call `call` has failed with `errnum` (positive).
  static Failure System(int errnum, const char* call, std::string path = {}, std::string dest = {});
  // The input is at fault: `code` is an ERR_... code of src/core/errors.ts.
  static Failure Input(std::string code, std::string message, Facts facts = {});

  int errnum = 0;       // positive errno, or 0 when the input is at fault and not the system
  std::string code;     // "ENOENT" or "ERR_LAYER_INVALID"
  std::string message;  // without the code
  std::string syscall;
  std::string path;
  std::string dest;
  int step = -1;  // the step of a batch that failed
  Facts facts;    // extra own properties, e.g. {"member", "etc/x"}

  const char* what() const noexcept override { return message.c_str(); }
};

// The symbolic name ("EUCLEAN") and the text of an errno. The table is our own: libuv's lacks several errors
// that the file systems below a store return.
const char* ErrnoName(int errnum);
std::string ErrnoText(int errnum);

// Throw what the factories of Failure make.
[[noreturn]] void ThrowErrno(int errnum, const char* call, std::string path = {}, std::string dest = {});
[[noreturn]] void ThrowInput(std::string code, std::string message, Failure::Facts facts = {});

// Runs `work` and returns what it throws, as a Failure.
std::optional<Failure> Catch(const std::function<void()>& work);

// The outcome of some work: its result, or the Failure.
template <typename T>
using Outcome = std::variant<T, Failure>;

// Runs `work` and returns its result or what it throws.
template <typename Work>
auto OutcomeOf(Work work) -> Outcome<decltype(work())> {
  std::optional<decltype(work())> result;
  if (std::optional<Failure> failure = Catch([&] { result = work(); })) return std::move(*failure);
  return std::move(*result);
}

// Repeats `call` while it is interrupted. The result and errno are the last call's.
template <typename Call>
auto Retry(Call call) -> decltype(call()) {
  for (;;) {
    auto result = call();
    if (result != static_cast<decltype(result)>(-1) || errno != EINTR) return result;
  }
}

// A system call, repeated while it is interrupted: `Again<::mkdirat>(dir, name, mode)`. A signal ends no call
// here, and a file system in user space or on a network may interrupt any. Two calls are made without it:
// close(2), which has closed the fd even when it fails with EINTR, and connect(2).
template <auto kCall, typename... Args>
auto Again(Args... args) {
  return Retry([&] { return kCall(args...); });
}

}  // namespace layerstack
