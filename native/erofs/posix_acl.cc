#include "erofs/posix_acl.h"

#include <cstdint>

#include "erofs/format.h"

namespace layerstack::erofs {

namespace {

constexpr size_t kHeader = 4;
constexpr size_t kEntry = 8;
constexpr uint32_t kVersion = 2;
constexpr uint32_t kNoId = UINT32_MAX;
enum Tag : uint32_t {
  kUserObject = 1,
  kUser = 2,
  kGroupObject = 4,
  kGroup = 8,
  kMask = 16,
  kOther = 32,
  kEnd = 0
};

uint32_t Get(const std::string& value, size_t at, size_t size) {
  uint32_t number = 0;
  for (size_t i = size; i-- > 0;) number = number << 8 | static_cast<unsigned char>(value[at + i]);
  return number;
}

struct Entry {
  uint32_t tag;
  uint32_t permissions;
  uint32_t id;
};
Entry EntryAt(const std::string& value, size_t at) {
  return {Get(value, at, 2), Get(value, at + 2, 2), Get(value, at + 4, 4)};
}

// Checks as the kernel's posix_acl_valid() does: owner, named users, group, named groups, mask, others.
bool Ordered(const std::string& value) {
  uint32_t next = kUserObject;
  bool needs_mask = false;
  for (size_t at = kHeader; at < value.size(); at += kEntry) {
    const Entry entry = EntryAt(value, at);
    const bool named = entry.tag == kUser || entry.tag == kGroup;
    if (entry.permissions > 7 || (named && entry.id == kNoId)) return false;
    if (entry.tag == kUserObject && next == kUserObject) {
      next = kUser;
    } else if (entry.tag == kGroupObject && next == kUser) {
      next = kGroup;
    } else if (entry.tag == kMask && next == kGroup) {
      next = kOther;
    } else if (entry.tag == kOther && (next == kOther || (next == kGroup && !needs_mask))) {
      next = kEnd;
    } else if (!named || entry.tag != next) {
      return false;
    }
    needs_mask = needs_mask || named;
  }
  return next == kEnd;
}

// Returns the entry for the mode's group bits: the mask, or the group where the ACL has no mask.
uint32_t GroupClass(const std::string& value) {
  for (size_t at = kHeader; at < value.size(); at += kEntry)
    if (EntryAt(value, at).tag == kMask) return kMask;
  return kGroupObject;
}

}  // namespace

AclVerdict JudgeAcl(const std::string& value) {
  if (value.empty()) return AclVerdict::kEmpty;
  if (value.size() < kHeader) return AclVerdict::kMalformed;
  if (Get(value, 0, 4) != kVersion) return AclVerdict::kUnsupported;
  if ((value.size() - kHeader) % kEntry != 0) return AclVerdict::kMalformed;
  if (value.size() == kHeader) return AclVerdict::kEmpty;
  return Ordered(value) ? AclVerdict::kValid : AclVerdict::kDisordered;
}

std::string InheritedAcl(const std::string& value, mode_t* mode) {
  mode_t allowed = 0;
  const uint32_t group = GroupClass(value);
  for (size_t at = kHeader; at < value.size(); at += kEntry) {
    const Entry entry = EntryAt(value, at);
    if (entry.tag == kUserObject) allowed |= entry.permissions << 6;
    if (entry.tag == group) allowed |= entry.permissions << 3;
    if (entry.tag == kOther) allowed |= entry.permissions;
  }
  *mode &= ~mode_t{0777} | allowed;
  return AclUnderMode(value, *mode);
}

std::string AclUnderMode(const std::string& value, mode_t mode) {
  const uint32_t group = GroupClass(value);
  bool extended = false;
  std::string out = value.substr(0, kHeader);
  for (size_t at = kHeader; at < value.size(); at += kEntry) {
    Entry entry = EntryAt(value, at);
    const bool named = entry.tag == kUser || entry.tag == kGroup;
    extended = extended || named || entry.tag == kMask;
    if (entry.tag == kUserObject) entry.permissions = mode >> 6 & 7;
    if (entry.tag == group) entry.permissions = mode >> 3 & 7;
    if (entry.tag == kOther) entry.permissions = mode & 7;
    Put(out, entry.tag, 2);
    Put(out, entry.permissions, 2);
    Put(out, named ? entry.id : kNoId, 4);
  }
  return extended ? out : "";
}

}  // namespace layerstack::erofs
