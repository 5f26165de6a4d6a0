// Tells whether the member of a tar or the machine is at fault when a system call for the member fails.
#pragma once

#include <string>

#include "sys/failure.h"

namespace layerstack {

// Names the member in `failure`, unless it names one. A system call that fails because of what the member
// asks for (a target that is too long, attributes that the kernel refuses, more than the file system can hold
// in one file) becomes an error of the input with `code`. A failure of the machine (a full disk, an I/O
// error, too many open files) stays a system error. `place`: an fd of the file system that the member goes
// to.
void JudgeMember(Failure& failure, const std::string& member, const char* code, int place);

}  // namespace layerstack
