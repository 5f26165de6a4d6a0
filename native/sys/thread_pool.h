// Native threads for everything that blocks. They are ours and not libuv's four, which stay free for
// node:fs; and each has its own fs_struct (unshare(CLONE_FS)) with umask 0 and a working directory that
// it may change, so that file modes are exact and mount(2) can use short relative names, while neither
// is ever changed for the process.
#pragma once

#include <functional>

namespace layerstack {

// Makes the calling thread's umask (then 0) and working directory its own. Call once, first thing, on a
// thread that native code has started. Kernel: any.
void IsolateThread();

// Whether IsolateThread succeeded on the calling thread. Where it did not, the working directory is the
// process's and must be left alone.
bool ThreadIsIsolated();

// Runs `job` on one of at most kPoolThreads shared threads. Jobs must not wait for other jobs.
// For work that is bounded in time (metadata, mounts, a chunk of inflate); work as long as an input is
// gets a thread of its own (see LongThread in tree/apply).
// Throws Failure where there is no thread and none can be had.
inline constexpr int kPoolThreads = 8;
void RunOnPool(std::function<void()> job);

// Runs `job`, which only computes, on one of as many threads as the process has processors: jobs of all callers share
// them, first come first served. Throws as RunOnPool.
void RunOnCores(std::function<void()> job);
int Cores();

}  // namespace layerstack
