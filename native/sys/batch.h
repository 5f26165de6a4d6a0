// Executes the small file operations of a transaction in order, relative to one directory. The TypeScript side
// (BatchStep in src/system/native.ts) says what each does.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace layerstack {

struct BatchStep {
  enum class Op {
    kMkdir, kWrite, kReplace, kSymlink, kLink, kRename, kExchange, kUnlink, kRmdir, kChown, kFsync, kSyncfs, kCall
  };

  Op op;
  std::function<void()> call;  // kCall: what another part of the core does between the others; nothing else is set
  std::string path;            // relative to the root; of a rename or exchange, the old name
  // A rename's or exchange's new name, a symlink's target, the file that a link is another name of, the base name of a replace's
  // temporary file (or empty)
  std::string dest;
  std::string via;  // exchange
  std::string data;
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  bool sync = false;        // write, replace
  bool exist = false;       // mkdir
  bool missing = false;     // unlink, rmdir
  bool no_replace = false;  // rename
};

// Runs on a pool thread. Throws the first Failure, with the path in full and its step; nothing that was done is undone, but no
// temporary file is left. Modes are exact whatever the umask, default ACLs or setgid parents.
void RunBatch(const std::string& root, const std::vector<BatchStep>& steps);

// Runs two batches that have nothing to do with each other: the second on another thread where one is free, else behind the
// first. Ends when both have; throws the first's Failure before the second's.
void RunTogether(const std::string& root, const std::vector<BatchStep>& first, std::vector<BatchStep> second);

}  // namespace layerstack
