#include "tree/replaced_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "format/tar_split_reader.h"
#include "format/tar_split_writer.h"
#include "sys/failure.h"
#include "sys/resolve.h"
#include "tree/member_path.h"
#include "tree/remove.h"

namespace layerstack {

namespace {

constexpr uint64_t kMaxReplaced = uint64_t{1} << 17;  // some 100 bytes in memory for each
constexpr size_t kCopyBytes = 256 << 10;

// Writes the file's content, which must be `size` bytes, as raw segments.
void CarryRaw(UniqueFd file, uint64_t size, TarSplitWriter& writer, const std::string& name) {
  auto buffer = std::make_unique<char[]>(kCopyBytes);
  uint64_t total = 0;
  for (;;) {
    ssize_t length = Again<::read>(file.get(), buffer.get(), kCopyBytes);
    if (length < 0) ThrowErrno(errno, "read", name);
    if (length == 0) break;
    writer.Segment(buffer.get(), static_cast<size_t>(length));
    total += static_cast<uint64_t>(length);
  }
  if (total != size) ThrowInput("ERR_INTERNAL", "the replaced file '" + name + "' has changed its size");
}

}  // namespace

ReplacedFiles::ReplacedFiles(std::string diff) : root_(std::move(diff) + ".replaced") {}

void ReplacedFiles::Add(int dir, const char* name, const std::string& path, uint64_t recorded) {
  if (count_ >= kMaxReplaced) {
    ThrowInput("ERR_LIMIT_EXCEEDED",
               "more than " + std::to_string(kMaxReplaced) + " members replace others of this layer",
               {{"limit", std::to_string(kMaxReplaced)}});
  }
  if (!fd_) {
    if (Again<::mkdir>(root_.c_str(), 0700) < 0) ThrowErrno(errno, "mkdir", root_);
    fd_.reset(Again<::open>(root_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd_) ThrowErrno(errno, "open", root_);
  }
  if (Again<::renameat>(dir, name, fd_.get(), std::to_string(count_).c_str()) < 0)
    ThrowErrno(errno, "rename", path);
  PrefixHash hash(key_);
  for (char c : path) hash.Add(c);
  by_path_[hash.Get()].push_back({recorded, count_++});
}

// Returns where the content of file entry number `entry` was moved to, or "" if it is still in its place. It
// moved with the first entry replaced after it was recorded that was the file itself or a directory above it.
std::string ReplacedFiles::Find(const std::string& name, uint64_t entry) const {
  std::string path = CleanMemberPath(name).value_or("");
  uint64_t first = UINT64_MAX;
  size_t covered = 0;
  PrefixHash hash(key_);
  for (size_t end = 0; end < path.size();) {
    hash.Add(path[end++]);
    if (end < path.size() && path[end] != '/') continue;
    auto found = by_path_.find(hash.Get());
    if (found == by_path_.end()) continue;
    auto next = std::upper_bound(found->second.begin(), found->second.end(), entry,
                                 [](uint64_t number, const Replaced& one) { return number < one.recorded; });
    if (next != found->second.end() && next->number < first) {
      first = next->number;
      covered = end;
    }
  }
  return first == UINT64_MAX ? "" : std::to_string(first) + path.substr(covered);
}

void ReplacedFiles::Rewrite(const std::string& path, int output, const std::function<void()>& check) {
  UniqueFd input(Again<::open>(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!input) ThrowErrno(errno, "open", path);
  TarSplitReader reader(std::move(input), path);
  TarSplitWriter writer(output);
  TarSplitEntry entry;
  for (uint64_t entries = 0; reader.Next(entry);) {
    check();
    if (entry.type == TarSplitEntry::Type::kSegment) {
      writer.Segment(entry.payload.data(), entry.payload.size());
      continue;
    }
    std::string moved = entry.size > 0 ? Find(entry.name, entries) : "";
    ++entries;
    if (moved.empty()) {
      writer.FileEntry(entry.name, entry.size, entry.crc);
      continue;
    }
    UniqueFd file = OpenBeneathNoLinks(fd_.get(), moved, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file) ThrowErrno(errno, "open", entry.name);
    CarryRaw(std::move(file), entry.size, writer, entry.name);
  }
  writer.Finish();
}

void ReplacedFiles::FoldInto(const std::string& path, const std::function<void()>& check) {
  std::string fresh = path + ".new";
  UniqueFd output(Again<::open>(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!output) ThrowErrno(errno, "open", fresh);
  Rewrite(path, output.get(), check);
  if (Again<::rename>(fresh.c_str(), path.c_str()) < 0) ThrowErrno(errno, "rename", fresh, path);
  size_t slash = root_.rfind('/');
  RemoveTree(root_.substr(0, slash + 1), root_.substr(slash + 1));
}

}  // namespace layerstack
