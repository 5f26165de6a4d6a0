// Opens untrusted paths inside a root directory: absolute links start at the root and `..` stops at it, as
// after chroot(2). openat2(2) does it if the kernel has it (5.6). Else a walk opens one component after the
// other and follows links itself. Both are safe in a tree that changes meanwhile: no component is looked up
// by name twice.
//
// Every function returns an empty UniqueFd with errno set on failure. O_CLOEXEC is always added. An empty
// path is the root. `mode` counts only with O_CREAT, and the thread's umask applies to it. More than
// kMaxLinks links are ELOOP.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <string>

#include "sys/fd.h"

namespace layerstack {

inline constexpr int kMaxLinks = 40;  // the kernel's MAXSYMLINKS (path_resolution(7))

// Resolves links inside the root. O_NOFOLLOW is about the last component only, as in open(2).
UniqueFd OpenInRoot(int root_fd, const std::string& path, int flags, mode_t mode = 0);

// No component may be a link (ELOOP; the last may with O_PATH|O_NOFOLLOW) and none may be `..` out of the
// root (EXDEV). For paths that the program itself has made, where a link means tampering.
UniqueFd OpenBeneathNoLinks(int root_fd, const std::string& path, int flags, mode_t mode = 0);

// Whether the functions above use openat2(2): the kernel has it, no seccomp filter refuses it (tried once),
// and SetResolver has not forbidden it.
bool UsesOpenat2();

// Which implementation the functions above use, for tests and LAYERSTACK_CAPS. Do not change it while they
// run.
enum class Resolver { kProbed, kWalk };
void SetResolver(Resolver resolver);

}  // namespace layerstack
