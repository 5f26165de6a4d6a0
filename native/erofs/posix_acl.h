// Applies the kernel's rules for POSIX ACLs in attributes. For EROFS the kernel does not apply these rules:
// it uses the stored ACLs.
#pragma once

#include <sys/types.h>

#include <string>

namespace layerstack::erofs {

// The verdict of setxattr(2). kUnsupported is ENOTSUP. kMalformed is EINVAL for every inode, kDisordered only
// for inodes that can have ACLs. kEmpty removes the attribute.
enum class AclVerdict { kValid, kEmpty, kUnsupported, kMalformed, kDisordered };
AclVerdict JudgeAcl(const std::string& value);

// Returns a valid access ACL after chmod(2) of its file to `mode`. Empty where the mode expresses all of it.
std::string AclUnderMode(const std::string& value, mode_t mode);
// Returns the access ACL that a new file with `mode` inherits from a valid default one. It removes the bits
// from `mode` that the ACL does not allow.
std::string InheritedAcl(const std::string& value, mode_t* mode);

}  // namespace layerstack::erofs
