#include "sys/thread_pool.h"

#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <utility>

#include "sys/failure.h"
#include "sys/priority.h"

namespace layerstack {

namespace {
thread_local bool isolated = false;
}

void IsolateThread() {
  TakeUsualPriority();
  // Fails only if a seccomp filter forbids it. Then the umask stays the process's, and chmod makes modes
  // exact where they matter (see sys/batch.cc).
  isolated = ::unshare(CLONE_FS) == 0;
  if (isolated) ::umask(0);
}

bool ThreadIsIsolated() { return isolated; }

std::thread StartThread(std::function<void()> job) {
  try {
    return std::thread(std::move(job));
  } catch (const std::system_error& error) {
    ThrowErrno(error.code().value(), "pthread_create");
  }
}

void RunOnOwnThread(std::function<void()> job) { StartThread(std::move(job)).detach(); }

namespace {

class Pool {
 public:
  explicit Pool(int most) : most_(most) {}

  void Run(std::function<void()> job) {
    Add(std::move(job));
    // Without the mutex, which the thread that wakes up takes at once.
    ready_.notify_one();
  }

 private:
  void Add(std::function<void()> job) {
    std::lock_guard<std::mutex> guard(mutex_);
    jobs_.push_back(std::move(job));
    if (idle_ < static_cast<int>(jobs_.size()) && threads_ < most_) {
      try {
        RunOnOwnThread([this] { Loop(); });
        ++threads_;
      } catch (const Failure&) {
        if (threads_ == 0) {
          jobs_.pop_back();
          throw;
        }
        // The existing threads will run it.
      }
    }
  }

  [[noreturn]] void Loop() {
    IsolateThread();
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      ++idle_;
      ready_.wait(lock, [this] { return !jobs_.empty(); });
      --idle_;
      std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;
  const int most_;
  int idle_ = 0;
  int threads_ = 0;
};

// Never destroyed: their threads outlive static destruction at process exit.
Pool& SharedPool() {
  static Pool* pool = new Pool(kPoolThreads);
  return *pool;
}

Pool& CorePool() {
  static Pool* pool = new Pool(Cores());
  return *pool;
}

}  // namespace

void RunOnPool(std::function<void()> job) { SharedPool().Run(std::move(job)); }

void RunOnCores(std::function<void()> job) { CorePool().Run(std::move(job)); }

int Cores() {
  static const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return cores;
}

}  // namespace layerstack
