// Decides which threads run first when CPUs are short. If a service's event loop waits for a CPU, all its
// clients wait. The threads that hash and extract have minutes of work, so they come second.
#pragma once

namespace layerstack {

// Gives the calling thread this nice value, which Linux keeps for each thread. Threads that native code
// starts later get the value from before instead of inheriting the new one. False if that is not allowed
// (CAP_SYS_NICE, RLIMIT_NICE).
bool PreferCallingThread(int nice);

// Call it on a thread that native code has started: it undoes the inherited value.
void TakeUsualPriority();

}  // namespace layerstack
