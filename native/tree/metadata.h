// Sets owner, extended attributes, mode and times of a member's new entry, in dockerd's order: chown takes
// setuid bits and capabilities away, so both come after it. System errors are thrown without a path.
#pragma once

#include <sys/stat.h>

#include "format/tar_reader.h"
#include "sys/fd.h"
#include "tree/warnings.h"

namespace layerstack {

// An inode: by an fd of its own (open for reading or writing), or by its directory's fd and its name. A link
// is never followed.
struct NodeRef {
  int fd;
  const char* name = nullptr;
};

// Throws ERR_LAYER_INVALID if the header's ids are not valid ids.
uid_t OwnerOf(const TarMember& member);
gid_t GroupOf(const TarMember& member);
inline mode_t ModeOf(const TarMember& member) { return static_cast<mode_t>(member.mode & 07777); }
// The type of a device or fifo: S_IFCHR, S_IFBLK or S_IFIFO; and its number (0 for a fifo). Throws
// ERR_LAYER_INVALID for a number that no device can have.
mode_t NodeTypeOf(const TarMember& member);
dev_t DeviceOf(const TarMember& member);
// Throws ERR_LAYER_INVALID if the symbolic link leads to "".
const char* LinkTargetOf(const TarMember& member);
// atime, mtime; the first never before the second. Before 1970 and beyond 2262 is 1970, as in dockerd.
void TimesOf(const TarMember& member, timespec times[2]);

void ChangeOwner(NodeRef node, uid_t uid, gid_t gid);
void ChangeMode(NodeRef node, mode_t mode);
void ChangeTimes(NodeRef node, const TarMember& member);
// Leaves out overlayfs's own attributes and those that may not or cannot be set here (EPERM, ENOTSUP), with a
// warning.
void SetXattrs(NodeRef node, const TarMember& member, Warnings& warnings);

// A regular file that has just been made.
struct NewFile {
  UniqueFd fd;
  bool needs_chown = true;  // its owner may differ from the member's
  bool needs_chmod = true;  // its mode may differ from the member's
};
// Sets the facts of the member. Call it when the file has its content.
void FinishFile(const NewFile& file, const TarMember& member, Warnings& warnings);

}  // namespace layerstack
