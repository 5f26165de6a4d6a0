// Promises for native work. `Async` runs a function on the native pool and settles a promise on the
// JavaScript thread; `Settlement` does the same for work that owns its threads. Work functions touch no
// JavaScript; a thrown Failure becomes the rejection (napi/error.h).
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
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

// A promise that any thread may settle, exactly once. Made on the JavaScript thread.
template <typename T>
class Settlement {
 public:
  using Convert = std::function<Napi::Value(Napi::Env, T&)>;

  Settlement(Napi::Env env, Convert convert)
      : mailbox_(Mailbox::Of(env)),
        deferred_(std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env))),
        convert_(std::move(convert)) {
    mailbox_->Begin(env);
  }

  Napi::Promise Promise() const { return deferred_->Promise(); }

  void Resolve(T value) {
    auto shared = std::make_shared<T>(std::move(value));
    mailbox_->Post([deferred = deferred_, convert = convert_, shared](Napi::Env env) {
      try {
        deferred->Resolve(convert(env, *shared));
      } catch (const Napi::Error& error) {
        deferred->Reject(error.Value());
      }
    });
  }

  void Reject(Failure failure) {
    mailbox_->Post([deferred = deferred_, failure = std::move(failure)](Napi::Env env) {
      deferred->Reject(ToError(env, failure).Value());
    });
  }

 private:
  std::shared_ptr<Mailbox> mailbox_;
  std::shared_ptr<Napi::Promise::Deferred> deferred_;
  Convert convert_;
};

// Runs `work` on the native pool, or where `run` puts it. `convert` turns its result into a JavaScript value.
template <typename T>
Napi::Promise Async(Napi::Env env, std::function<T()> work, std::function<Napi::Value(Napi::Env, T&)> convert,
                    const std::function<void(std::function<void()>)>& run = RunOnPool) {
  Settlement<T> settlement(env, std::move(convert));
  Napi::Promise promise = settlement.Promise();
  auto job = [settlement, work = std::move(work)]() mutable {
    std::optional<Failure> failure = Caught([&] { settlement.Resolve(work()); });
    if (failure) settlement.Reject(std::move(*failure));
  };
  try {
    run(std::move(job));
  } catch (const Failure& failure) {  // no thread to be had
    settlement.Reject(failure);
  }
  return promise;
}

// The same for work without a result.
inline Napi::Promise AsyncVoid(Napi::Env env, std::function<void()> work) {
  return Async<int>(
      env,
      [work = std::move(work)] {
        work();
        return 0;
      },
      [](Napi::Env e, int&) { return e.Undefined(); });
}

}  // namespace layerstack
