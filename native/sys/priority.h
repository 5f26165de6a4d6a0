// Which thread goes first where CPUs are short. A service's event loop answers in a moment or keeps everybody waiting, while
// the threads that hash and extract have minutes of work: they should not make it queue behind them.
#pragma once

namespace layerstack {

// Gives the calling thread this nice value. Threads that native code starts later keep the value that it had before
// (they would inherit the new one). False where that is not allowed (CAP_SYS_NICE, RLIMIT_NICE). Linux: per thread.
bool PreferCallingThread(int nice);

// On a thread that native code has started: undoes what it inherited.
void TakeUsualPriority();

}  // namespace layerstack
