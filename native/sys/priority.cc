#include "sys/priority.h"

#include <sys/resource.h>

#include <atomic>
#include <cerrno>

namespace layerstack {

namespace {
constexpr int kUnchanged = 1000;  // no nice value
std::atomic<int> usual{kUnchanged};
}  // namespace

bool PreferCallingThread(int nice) {
  errno = 0;
  const int before = ::getpriority(PRIO_PROCESS, 0);
  if (before == -1 && errno != 0) return false;
  if (::setpriority(PRIO_PROCESS, 0, nice) != 0) return false;
  int unchanged = kUnchanged;
  usual.compare_exchange_strong(unchanged, before);
  return true;
}

void TakeUsualPriority() {
  const int nice = usual.load();
  if (nice != kUnchanged) ::setpriority(PRIO_PROCESS, 0, nice);
}

}  // namespace layerstack
