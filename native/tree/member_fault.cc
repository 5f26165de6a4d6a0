#include "tree/member_fault.h"

#include <sys/vfs.h>

namespace layerstack {

namespace {

// More than any attribute takes. So a disk with this much free space did not refuse it for lack of space.
constexpr uint64_t kRoomForAttributes = 1 << 20;

bool HasRoom(int place) {
  struct statfs room;
  if (Again<::fstatfs>(place, &room) != 0) return false;
  bool inodes = room.f_files == 0 || room.f_ffree > 0;
  return inodes &&
         static_cast<uint64_t>(room.f_bfree) * static_cast<uint64_t>(room.f_bsize) >= kRoomForAttributes;
}

bool MemberIsAtFault(const Failure& failure, int place) {
  switch (failure.errnum) {
    case E2BIG:
    case EFBIG:
    case EILSEQ:
    case EINVAL:
    case ELOOP:
    case EMLINK:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EOVERFLOW:
    case ERANGE:
    case EXDEV: return true;
    case EACCES:  // a default ACL on something else than a directory
      return failure.syscall == "setxattr" && failure.path == "system.posix_acl_default";
    case ENOSPC:  // of the block that ext4 has for all attributes of a file
      return failure.syscall.ends_with("setxattr") && HasRoom(place);
    default: return false;
  }
}

}  // namespace

void JudgeMember(Failure& failure, const std::string& member, const char* code, int place) {
  if (failure.errnum != 0 && MemberIsAtFault(failure, place)) {
    std::string call = failure.syscall + (failure.path.empty() ? "" : " of '" + failure.path + "'");
    failure.message =
        "'" + member + "' cannot be stored: " + call + " fails with " + failure.code + ", " + failure.message;
    failure.code = code;
    failure.errnum = 0;
    failure.path.clear();
    failure.dest.clear();
  }
  // tree/metadata throws it for layers and for other tars.
  if (failure.code == "ERR_LAYER_INVALID") failure.code = code;
  for (const auto& [fact, value] : failure.facts) {
    if (fact == "member") return;
  }
  if (failure.errnum != 0 && failure.path.empty()) failure.path = member;
  failure.facts.emplace_back("member", member);
}

}  // namespace layerstack
