// A minimal test harness for the native core, so that it runs under the sanitizers without Node. A test file
// has TEST(name) { ... } blocks and `int main() { return check::RunAll(); }`; a failed CHECK ends its test
// and the program exits 1.
#pragma once

#include <cstdio>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "sys/failure.h"

namespace check {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

struct Register {
  Register(const char* name, void (*run)()) { Tests().push_back({name, run}); }
};

[[noreturn]] inline void Fail(const char* file, int line, const std::string& what) {
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

template <typename A, typename B>
void Equal(const char* file, int line, const char* text, const A& a, const B& b) {
  if (a == b) return;
  std::ostringstream what;
  what << text << ": " << a << " != " << b;
  Fail(file, line, what.str());
}

// Runs `call` and returns the Failure that it throws.
template <typename Call>
layerstack::Failure Caught(const char* file, int line, const char* text, Call call) {
  try {
    call();
  } catch (const layerstack::Failure& failure) {
    return failure;
  }
  Fail(file, line, std::string(text) + " did not fail");
}

inline int RunAll() {
  int failed = 0;
  for (const Test& test : Tests()) {
    try {
      test.run();
      std::printf("ok   %s\n", test.name);
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAIL %s: %s\n", test.name, error.what());
    }
    std::fflush(stdout);
  }
  std::printf("%zu tests, %d failed\n", Tests().size(), failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                            \
  static void name();                                         \
  static const check::Register register_##name(#name, &name); \
  static void name()
#define CHECK(condition)                                           \
  do {                                                             \
    if (!(condition)) check::Fail(__FILE__, __LINE__, #condition); \
  } while (false)
#define CHECK_EQ(a, b) check::Equal(__FILE__, __LINE__, #a " == " #b, (a), (b))
#define CAUGHT(expression) \
  check::Caught(__FILE__, __LINE__, #expression, [&] { static_cast<void>(expression); })
#define CHECK_FAILS(wanted, expression) CHECK_EQ(CAUGHT(expression).code, std::string(wanted))
