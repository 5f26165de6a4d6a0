#include "erofs/probe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <string_view>

#include "erofs/index.h"
#include "format/tar_writer.h"
#include "sys/failure.h"
#include "sys/fd.h"
#include "sys/whole_io.h"

namespace layerstack::erofs {

namespace {

constexpr char kName[] = "probe";
constexpr std::string_view kContent = "read through the index";

// Makes an unnamed file.
UniqueFd NewFile(const std::string& dir) {
  UniqueFd made(Again<::open>(dir.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (made) return made;
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT) ThrowErrno(errno, "open", dir);
  std::string path = dir + "/.probe-file-XXXXXX";
  UniqueFd named(::mkostemp(path.data(), O_CLOEXEC));
  if (!named) ThrowErrno(errno, "mkostemp", path);
  Again<::unlink>(path.c_str());
  return named;
}

std::string Tar() {
  TarEntry entry;
  entry.name = kName;
  entry.mode = 0600;
  entry.size = kContent.size();
  std::string tar = EncodeTarHeader(entry).append(kContent);
  return tar.append(TarPadding(kContent.size()) + 2 * kTarBlock, '\0');
}

// Returns whether a failure says that this kernel cannot mount in this way, or does not allow it to this
// process. Other errors (EIO, EMFILE, ENOMEM, ...) say nothing about the kernel.
bool IsRefusal(int errnum) {
  switch (errnum) {
    case ENOSYS:
    case ENODEV:   // no EROFS
    case ENOTBLK:  // no files
    case EINVAL:   // no blocks of 512 bytes
    case EPERM:
    case EACCES:
    case ENOENT:  // no loop devices
    case ENXIO:
    case EOPNOTSUPP: return true;
    default: return false;
  }
}

bool Shows(int mount) {
  UniqueFd file(Again<::openat>(mount, kName, O_RDONLY | O_CLOEXEC));
  std::string content;
  return file && ReadAll(file.get(), kContent.size(), &content) && content == kContent;
}

bool Works(int index, int tar, ErofsMethod method) {
  bool shows = false;
  const std::optional<Failure> failure = Catch([&] { shows = Shows(OpenErofs(index, {tar}, method).get()); });
  if (failure && !IsRefusal(failure->errnum)) throw *failure;
  return shows;
}

}  // namespace

std::optional<ErofsMethod> ProbeMethod(const std::string& dir) {
  const std::string bytes = Tar();
  const UniqueFd tar = NewFile(dir), index = NewFile(dir);
  Write(tar.get(), bytes);
  IndexSource source;
  source.devices.push_back({tar.get(), bytes.size(), kName});
  source.layers.push_back({1, 0, bytes.size()});
  source.hashed = false;
  WriteIndex(source, index.get(), [] {});
  for (const ErofsMethod method : {ErofsMethod::kFile, ErofsMethod::kLoop})
    if (Works(index.get(), tar.get(), method)) return method;
  return std::nullopt;
}

}  // namespace layerstack::erofs
