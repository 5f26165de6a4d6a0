#include "sys/fs_context.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/failure.h"
#include "sys/syscalls.h"

namespace layerstack {

FsContext::FsContext(const char* type)
    : fd_(static_cast<int>(Again<::syscall>(kSysFsopen, type, kFsopenCloexec))) {
  if (!fd_) ThrowErrno(errno, "fsopen");
}

bool FsContext::SetString(const char* key, const std::string& value) {
  return Again<::syscall>(kSysFsconfig, fd_.get(), kFsconfigSetString, key, value.c_str(), 0) == 0;
}

bool FsContext::SetFlag(const char* key) {
  return Again<::syscall>(kSysFsconfig, fd_.get(), kFsconfigSetFlag, key, nullptr, 0) == 0;
}

bool FsContext::SetOption(const std::string& option) {
  size_t equals = option.find('=');
  if (equals == std::string::npos) return SetFlag(option.c_str());
  return SetString(option.substr(0, equals).c_str(), option.substr(equals + 1));
}

UniqueFd FsContext::Create(bool read_only) {
  if (::syscall(kSysFsconfig, fd_.get(), kFsconfigCmdCreate, nullptr, nullptr, 0) != 0) return UniqueFd();
  return UniqueFd(static_cast<int>(Retry(
      [&] { return ::syscall(kSysFsmount, fd_.get(), kFsmountCloexec, read_only ? kMountAttrRdonly : 0); })));
}

std::string FsContext::Log() {
  // One message per read, as "<level> <text>"; EMSGSIZE and ENODATA end it.
  std::string log;
  char line[1024];
  for (;;) {
    ssize_t length = Again<::read>(fd_.get(), line, sizeof line);
    if (length <= 2) return log;
    std::string text(line + 2, static_cast<size_t>(length) - 2);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    if (!log.empty()) log += "; ";
    log += text;
  }
}

bool AttachMount(int mount_fd, const std::string& target) {
  return Retry([&] {
           return ::syscall(kSysMoveMount, mount_fd, "", AT_FDCWD, target.c_str(), kMoveMountFromEmptyPath);
         }) == 0;
}

bool HaveMoveMount() {
  return ::syscall(kSysMoveMount, -1, "", -1, "", kMoveMountFromEmptyPath) != 0 && errno != ENOSYS &&
         errno != EPERM;
}

}  // namespace layerstack
