// Runs the jobs of one object on the native pool, one after the other, in the order in which they were given.
// So the object needs no lock of its own, and a caller that does not wait uses no more than one thread.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "sys/thread_pool.h"

namespace layerstack {

// Always held by a shared_ptr, since jobs keep it alive.
class Serial : public std::enable_shared_from_this<Serial> {
 public:
  void Run(std::function<void()> job) {
    std::lock_guard<std::mutex> guard(mutex_);
    jobs_.push_back(std::move(job));
    if (jobs_.size() > 1) return;
    try {
      Next();
    } catch (...) {
      jobs_.pop_back();
      throw;
    }
  }

 private:
  // The first job of the queue stays there while it runs. Called with the mutex held.
  void Next() {
    RunOnPool([self = shared_from_this()] {
      std::function<void()> job;
      {
        std::lock_guard<std::mutex> guard(self->mutex_);
        job = std::move(self->jobs_.front());
      }
      job();
      job = nullptr;  // before the next one may run: the job may hold the last reference to an object
      std::lock_guard<std::mutex> guard(self->mutex_);
      self->jobs_.pop_front();
      if (!self->jobs_.empty()) self->Next();
    });
  }

  std::mutex mutex_;
  std::deque<std::function<void()>> jobs_;
};

}  // namespace layerstack
