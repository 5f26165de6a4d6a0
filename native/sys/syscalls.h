// Numbers and constants of system calls that are newer than the C libraries and kernel headers of the build
// (glibc 2.28, Linux 4.18). The calls from 424 on have one number on every architecture but alpha.
#pragma once

#include <cstdint>

namespace layerstack {

inline constexpr long kSysMoveMount = 429;  // Linux 5.2, as the next three
inline constexpr long kSysFsopen = 430;
inline constexpr long kSysFsconfig = 431;
inline constexpr long kSysFsmount = 432;
inline constexpr long kSysOpenat2 = 437;       // Linux 5.6
inline constexpr long kSysMountSetattr = 442;  // Linux 5.12

inline constexpr unsigned kFsopenCloexec = 1;
inline constexpr unsigned kFsconfigSetFlag = 0;
inline constexpr unsigned kFsconfigSetString = 1;
inline constexpr unsigned kFsconfigCmdCreate = 6;
inline constexpr unsigned kFsmountCloexec = 1;
inline constexpr unsigned kMountAttrRdonly = 1;
inline constexpr unsigned kMoveMountFromEmptyPath = 4;

struct MountAttr {
  uint64_t attr_set;
  uint64_t attr_clr;
  uint64_t propagation;
  uint64_t userns_fd;
};

struct OpenHow {
  uint64_t flags;
  uint64_t mode;
  uint64_t resolve;
};
inline constexpr uint64_t kResolveNoMagiclinks = 0x02;
inline constexpr uint64_t kResolveNoSymlinks = 0x04;
inline constexpr uint64_t kResolveBeneath = 0x08;
inline constexpr uint64_t kResolveInRoot = 0x10;

inline constexpr uint64_t kStatxAttrMountRoot = 0x2000;  // Linux 5.8

}  // namespace layerstack
