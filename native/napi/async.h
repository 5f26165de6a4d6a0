// Promises for native work. `Async` runs a function on the native pool and settles a promise on the
// JavaScript thread; `Settlement` does the same for work that owns its threads. Work functions touch no
// JavaScript; a thrown Failure becomes the rejection (napi/error.h).
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

// Hands functions from any thread to one environment's JavaScript thread, and keeps that event loop
// alive while work is under way. One per environment (main thread or worker), made by addon.cc.
class Mailbox {
 public:
  static void Install(Napi::Env env);
  static std::shared_ptr<Mailbox> Of(Napi::Env env);

  void Begin(Napi::Env env);                         // JavaScript thread: one more message is owed
  void Post(std::function<void(Napi::Env)> deliver);  // any thread: deliver it

 private:
  Mailbox() = default;
  void Deliver(Napi::Env env, std::function<void(Napi::Env)>& deliver);

  std::mutex mutex_;
  napi_threadsafe_function function_ = nullptr;  // null once the environment has ended
  int owed_ = 0;  // touched on the JavaScript thread only
};

// What the JavaScript thread makes the result of.
using Delivery = std::function<Napi::Value(Napi::Env)>;

// A promise that any thread may settle, exactly once. Made on the JavaScript thread. Free of the result's type, as all is here that
// can be: the compiler makes what has one again for each type.
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
  return [convert, shared = std::make_shared<T>(std::move(value))](Napi::Env env) { return convert(env, *shared); };
}

// The same for results of one type.
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

// Runs `work` on the native pool, or where `run` puts it. `convert` turns its result into a JavaScript value.
template <typename T>
Napi::Promise Async(Napi::Env env, std::function<T()> work, std::function<Napi::Value(Napi::Env, T&)> convert,
                    const Runner& run = RunOnPool) {
  return RunAsync(
      env,
      [work = std::move(work), convert = std::move(convert)] { return DeliveryOf<T>(work(), convert); }, run);
}

// The same for work without a result.
Napi::Promise AsyncVoid(Napi::Env env, std::function<void()> work);

}  // namespace layerstack
