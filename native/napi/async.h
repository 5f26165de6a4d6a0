// Promises for native work. `Async` runs a function on the native pool and settles a promise on the
// JavaScript thread. `Settlement` does the same for work that owns its threads. The work must not touch
// JavaScript. A Failure that it throws becomes the rejection (napi/error.h).
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "napi/error.h"
#include "sys/failure.h"
#include "sys/thread_pool.h"

namespace layerstack {

// Hands functions from any thread to the JavaScript thread of one environment, and keeps its event loop alive
// while work is running. addon.cc makes one for each environment (main thread or worker).
class Mailbox {
 public:
  static void Install(Napi::Env env);
  static std::shared_ptr<Mailbox> Of(Napi::Env env);

  void Begin(Napi::Env env);                          // JavaScript thread: announces one more message
  void Post(std::function<void(Napi::Env)> deliver);  // any thread: delivers it

 private:
  Mailbox() = default;
  void Deliver(Napi::Env env, std::function<void(Napi::Env)>& deliver);

  std::mutex mutex_;
  napi_threadsafe_function function_ = nullptr;  // null once the environment has ended
  int owed_ = 0;                                 // touched on the JavaScript thread only
};

// Makes the result, on the JavaScript thread.
using Delivery = std::function<Napi::Value(Napi::Env)>;

// A promise that any thread may settle, exactly once. Made on the JavaScript thread. It does not depend on
// the result's type, since the compiler makes a template again for each type.
class AnySettlement {
 public:
  explicit AnySettlement(Napi::Env env);

  Napi::Promise Promise() const { return deferred_->Promise(); }

  void Resolve(Delivery deliver);
  void Reject(Failure failure);

 private:
  std::shared_ptr<Mailbox> mailbox_;
  std::shared_ptr<Napi::Promise::Deferred> deferred_;
};

template <typename T>
using Convert = std::function<Napi::Value(Napi::Env, T&)>;

template <typename T>
Delivery DeliveryOf(T value, const Convert<T>& convert) {
  return [convert, shared = std::make_shared<T>(std::move(value))](Napi::Env env) {
    return convert(env, *shared);
  };
}

// A promise of one type.
template <typename T>
class Settlement : public AnySettlement {
 public:
  Settlement(Napi::Env env, Convert<T> convert) : AnySettlement(env), convert_(std::move(convert)) {}

  void Resolve(T value) { AnySettlement::Resolve(DeliveryOf(std::move(value), convert_)); }
  void Settle(Outcome<T> outcome) {
    if (auto* failure = std::get_if<Failure>(&outcome)) return Reject(std::move(*failure));
    Resolve(std::get<T>(std::move(outcome)));
  }

 private:
  Convert<T> convert_;
};

using Runner = std::function<void(std::function<void()>)>;

Napi::Promise RunAsync(Napi::Env env, std::function<Delivery()> work, const Runner& run);

// Runs `work` on the native pool, or where `run` runs it. `convert` turns its result into a JavaScript value.
template <typename T>
Napi::Promise Async(Napi::Env env, std::function<T()> work, std::function<Napi::Value(Napi::Env, T&)> convert,
                    const Runner& run = RunOnPool) {
  return RunAsync(
      env, [work = std::move(work), convert = std::move(convert)] { return DeliveryOf<T>(work(), convert); },
      run);
}

// The same for work without a result.
Napi::Promise AsyncVoid(Napi::Env env, std::function<void()> work);

}  // namespace layerstack
