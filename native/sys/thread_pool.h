// Native threads for everything that blocks. They are our own, so that libuv's four stay free for node:fs.
// Each pool thread has its own fs_struct (unshare(CLONE_FS)) with umask 0 and a working directory that it may
// change. So file modes are exact and mount(2) can use short relative names, while the process's own umask
// and directory never change.
#pragma once

#include <functional>
#include <thread>

namespace layerstack {

// Makes the calling thread's umask (then 0), working directory and priority its own. Call it once, first
// thing, on a thread that native code has started.
void IsolateThread();

// Whether IsolateThread succeeded on the calling thread. If not, the working directory is the process's and
// must not be changed.
bool ThreadIsIsolated();

// Starts a thread that runs `job`. Throws Failure if the system has no more threads.
std::thread StartThread(std::function<void()> job);

// Runs `job` on a detached thread of its own. For work that takes as long as its input. Throws as
// StartThread.
void RunOnOwnThread(std::function<void()> job);

// Runs `job` on one of at most kPoolThreads shared threads. For work that is bounded in time: metadata,
// mounts, a chunk of inflate. Jobs must not wait for other jobs. Throws Failure if no thread runs and
// none can be started.
inline constexpr int kPoolThreads = 8;
void RunOnPool(std::function<void()> job);

// Runs `job`, which only computes, on one of as many threads as the process has processors. The jobs of all
// callers share them, first come first served. Throws as RunOnPool.
void RunOnCores(std::function<void()> job);
int Cores();

}  // namespace layerstack
