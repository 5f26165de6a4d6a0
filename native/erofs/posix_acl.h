// What a kernel makes of POSIX ACLs that it is given as attributes: EROFS is read by a kernel that takes them
// as they are.
#pragma once

#include <sys/types.h>

#include <string>

namespace layerstack::erofs {

// As setxattr(2) judges it: kUnsupported is ENOTSUP; kMalformed is EINVAL, whatever the inode, and
// kDisordered is where the inode can have ACLs; kEmpty takes the attribute away.
enum class AclVerdict { kValid, kEmpty, kUnsupported, kMalformed, kDisordered };
AclVerdict JudgeAcl(const std::string& value);

// A valid access ACL once its file has been given `mode`. Empty where the mode says all of it.
std::string AclUnderMode(const std::string& value, mode_t mode);
// The access ACL that a valid default one hands down to what is made with `mode`, which loses what it does
// not allow.
std::string InheritedAcl(const std::string& value, mode_t* mode);

}  // namespace layerstack::erofs
