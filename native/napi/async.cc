#include "napi/async.h"

#include <optional>
#include <utility>

namespace layerstack {

namespace {
// The instance data and the queue's finalizer each hold a shared_ptr, as does running work: the mailbox lives
// on after its environment has ended, and drops what is posted to it then.
using Slot = std::shared_ptr<Mailbox>;
}  // namespace

void Mailbox::Install(Napi::Env env) {
  auto mailbox = std::shared_ptr<Mailbox>(new Mailbox);
  napi_value name = Napi::String::New(env, "layerstack");
  // Node deletes the queue with its environment, even while it is used; only the finalizer knows when. It
  // takes the mutex, so that no Post is inside the queue at that moment.
  napi_status status = napi_create_threadsafe_function(
      env, nullptr, nullptr, name, 0, 1, new Slot(mailbox),
      [](napi_env, void* data, void*) {
        std::unique_ptr<Slot> slot(static_cast<Slot*>(data));
        std::lock_guard<std::mutex> guard((*slot)->mutex_);
        (*slot)->function_ = nullptr;
      },
      mailbox.get(),
      [](napi_env raw, napi_value, void* context, void* data) {
        std::unique_ptr<std::function<void(Napi::Env)>> deliver(
            static_cast<std::function<void(Napi::Env)>*>(data));
        if (raw == nullptr) return;  // the environment is ending
        static_cast<Mailbox*>(context)->Deliver(Napi::Env(raw), *deliver);
      },
      &mailbox->function_);
  if (status != napi_ok) throw Napi::Error::New(env, "cannot create the completion queue");
  napi_unref_threadsafe_function(env, mailbox->function_);
  env.SetInstanceData<Slot>(new Slot(mailbox));
}

std::shared_ptr<Mailbox> Mailbox::Of(Napi::Env env) { return *env.GetInstanceData<Slot>(); }

void Mailbox::Begin(Napi::Env env) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (owed_++ == 0 && function_) napi_ref_threadsafe_function(env, function_);
}

void Mailbox::Post(std::function<void(Napi::Env)> deliver) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (!function_) return;
  auto* message = new std::function<void(Napi::Env)>(std::move(deliver));
  if (napi_call_threadsafe_function(function_, message, napi_tsfn_nonblocking) != napi_ok) {
    delete message;
    function_ = nullptr;  // the environment is ending, and this call has given the queue up
  }
}

void Mailbox::Deliver(Napi::Env env, std::function<void(Napi::Env)>& deliver) {
  try {
    Napi::HandleScope scope(env);
    deliver(env);
  } catch (const Napi::Error&) {
    // A worker is being terminated: no JavaScript runs any more that could wait for this.
  }
  std::lock_guard<std::mutex> guard(mutex_);
  if (--owed_ == 0 && function_) napi_unref_threadsafe_function(env, function_);
}

AnySettlement::AnySettlement(Napi::Env env)
    : mailbox_(Mailbox::Of(env)),
      deferred_(std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env))) {
  mailbox_->Begin(env);
}

void AnySettlement::Resolve(Delivery deliver) {
  mailbox_->Post([deferred = deferred_, deliver = std::move(deliver)](Napi::Env env) {
    try {
      deferred->Resolve(deliver(env));
    } catch (const Napi::Error& error) {
      deferred->Reject(error.Value());
    }
  });
}

void AnySettlement::Reject(Failure failure) {
  mailbox_->Post([deferred = deferred_, failure = std::move(failure)](Napi::Env env) {
    deferred->Reject(ToError(env, failure).Value());
  });
}

Napi::Promise RunAsync(Napi::Env env, std::function<Delivery()> work, const Runner& run) {
  AnySettlement settlement(env);
  Napi::Promise promise = settlement.Promise();
  auto job = [settlement, work = std::move(work)]() mutable {
    std::optional<Failure> failure = Catch([&] { settlement.Resolve(work()); });
    if (failure) settlement.Reject(std::move(*failure));
  };
  try {
    run(std::move(job));
  } catch (const Failure& failure) {  // no thread could be started
    settlement.Reject(failure);
  }
  return promise;
}

Napi::Promise AsyncVoid(Napi::Env env, std::function<void()> work) {
  return RunAsync(
      env,
      [work = std::move(work)]() -> Delivery {
        work();
        return [](Napi::Env e) { return e.Undefined(); };
      },
      RunOnPool);
}

}  // namespace layerstack
