// Executes the small file operations of a transaction in order, relative to one directory. The TypeScript
// side (BatchStep in src/system/native.ts) says what each step does.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace layerstack {

// Paths are relative to the root of the batch.
namespace step {

struct Mkdir {
  std::string path;
  mode_t mode = 0;
  bool may_exist = false;
};
struct Write {
  std::string path;
  std::string data;
  mode_t mode = 0;
  bool sync = false;
};
struct Replace {
  std::string path;
  std::string data;
  mode_t mode = 0;
  bool sync = true;
  std::string temporary;  // the base name of the temporary file; empty: a random one
};
struct Symlink {
  std::string path;
  std::string target;
};
struct Link {
  std::string path;
  std::string target;  // the file to which `path` becomes another name
};
struct Rename {
  std::string from;
  std::string to;
  bool no_replace = false;
};
struct Exchange {
  std::string from;
  std::string to;
  std::string via;  // a free name, for file systems that cannot exchange two; empty: these fail
};
struct Unlink {
  std::string path;
  bool may_be_missing = false;
};
struct Rmdir {
  std::string path;
  bool may_be_missing = false;
};
struct Chown {
  std::string path;
  uid_t uid = 0;
  gid_t gid = 0;
};
struct Fsync {
  std::string path;
};
struct Syncfs {
  std::string path;
};
// Runs what another part of the core does between the other steps.
struct Call {
  std::function<void()> run;
};

}  // namespace step

using BatchStep = std::variant<step::Mkdir, step::Write, step::Replace, step::Symlink, step::Link,
                               step::Rename, step::Exchange, step::Unlink, step::Rmdir, step::Chown,
                               step::Fsync, step::Syncfs, step::Call>;

// Runs on a pool thread. Throws the first Failure, with the full path and the number of its step. It does not
// undo the earlier steps, but leaves no temporary file. Modes are exact whatever the umask, default ACLs or
// setgid parents.
void RunBatch(const std::string& root, const std::vector<BatchStep>& steps);

// Runs two batches that do not depend on each other: the second on another thread if one is free, else after
// the first. Ends when both have ended. Throws the first's Failure before the second's.
void RunTogether(const std::string& root, const std::vector<BatchStep>& first, std::vector<BatchStep> second);

}  // namespace layerstack
