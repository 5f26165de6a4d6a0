#include "tree/clones.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <utility>

#include "sys/failure.h"

namespace layerstack {

UniqueFd Clones::Make(const std::string& member, int file) {
  {
    std::lock_guard<std::mutex> guard(mutex_);
    if (!possible_ || waiting_.size() >= kMaxWaiting) return {};
  }
  UniqueFd clone(Again<::open>(directory_.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  UniqueFd reader;
  if (clone && Again<::ioctl>(clone.get(), FICLONE, file) == 0)
    reader.reset(Again<::fcntl>(clone.get(), F_DUPFD_CLOEXEC, 0));
  std::lock_guard<std::mutex> guard(mutex_);
  if (!reader) {
    // If only this file cannot be cloned (it is immutable, a swap file, the disk is full), the next one may
    // be.
    possible_ = errno == EPERM || errno == ETXTBSY || errno == ENOSPC || errno == EMFILE;
    return {};
  }
  waiting_.push_back({member, std::move(clone)});
  return reader;
}

UniqueFd Clones::Take(const std::string& member) {
  std::lock_guard<std::mutex> guard(mutex_);
  if (waiting_.empty() || waiting_.front().member != member) return {};
  UniqueFd file = std::move(waiting_.front().file);
  waiting_.pop_front();
  return file;
}

}  // namespace layerstack
