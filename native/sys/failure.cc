#include "sys/failure.h"

#include <new>

#include <cstring>

namespace layerstack {

namespace {

struct Entry {
  int errnum;
  const char* name;
  const char* text;
};

// The texts are libuv's. For errors that libuv does not know, they are the kernel's.
constexpr Entry kErrors[] = {
    {E2BIG, "E2BIG", "argument list too long"},
    {EACCES, "EACCES", "permission denied"},
    {EADDRINUSE, "EADDRINUSE", "address already in use"},
    {EADDRNOTAVAIL, "EADDRNOTAVAIL", "address not available"},
    {EAFNOSUPPORT, "EAFNOSUPPORT", "address family not supported"},
    {EAGAIN, "EAGAIN", "resource temporarily unavailable"},
    {EBADF, "EBADF", "bad file descriptor"},
    {EBUSY, "EBUSY", "resource busy or locked"},
    {ECANCELED, "ECANCELED", "operation canceled"},
    {ECONNREFUSED, "ECONNREFUSED", "connection refused"},
    {EDQUOT, "EDQUOT", "disk quota exceeded"},
    {EEXIST, "EEXIST", "file already exists"},
    {EFAULT, "EFAULT", "bad address in system call argument"},
    {EFBIG, "EFBIG", "file too large"},
    {EILSEQ, "EILSEQ", "illegal byte sequence"},
    {EINTR, "EINTR", "interrupted system call"},
    {EINVAL, "EINVAL", "invalid argument"},
    {EIO, "EIO", "i/o error"},
    {EISDIR, "EISDIR", "illegal operation on a directory"},
    {ELOOP, "ELOOP", "too many symbolic links encountered"},
    {EMFILE, "EMFILE", "too many open files"},
    {EMLINK, "EMLINK", "too many links"},
    {EMSGSIZE, "EMSGSIZE", "message too long"},
    {ENAMETOOLONG, "ENAMETOOLONG", "name too long"},
    {ENFILE, "ENFILE", "file table overflow"},
    {ENODATA, "ENODATA", "no data available"},
    {ENODEV, "ENODEV", "no such device"},
    {ENOENT, "ENOENT", "no such file or directory"},
    {ENOLCK, "ENOLCK", "no locks available"},
    {ENOMEM, "ENOMEM", "not enough memory"},
    {ENOSPC, "ENOSPC", "no space left on device"},
    {ENOSYS, "ENOSYS", "function not implemented"},
    {ENOTBLK, "ENOTBLK", "block device required"},
    {ENOTDIR, "ENOTDIR", "not a directory"},
    {ENOTEMPTY, "ENOTEMPTY", "directory not empty"},
    {ENOTSOCK, "ENOTSOCK", "socket operation on non-socket"},
    {ENOTSUP, "ENOTSUP", "operation not supported on socket"},
    {ENXIO, "ENXIO", "no such device or address"},
    {EOVERFLOW, "EOVERFLOW", "value too large for defined data type"},
    {EPERM, "EPERM", "operation not permitted"},
    {EPIPE, "EPIPE", "broken pipe"},
    {EPROTOTYPE, "EPROTOTYPE", "protocol wrong type for socket"},
    {ERANGE, "ERANGE", "result too large"},
    {EROFS, "EROFS", "read-only file system"},
    {ESPIPE, "ESPIPE", "invalid seek"},
    {ESRCH, "ESRCH", "no such process"},
    {ESTALE, "ESTALE", "stale file handle"},
    {ETIMEDOUT, "ETIMEDOUT", "connection timed out"},
    {ETXTBSY, "ETXTBSY", "text file is busy"},
    {EUCLEAN, "EUCLEAN", "structure needs cleaning"},
    {EXDEV, "EXDEV", "cross-device link not permitted"},
};

const Entry* Find(int errnum) {
  for (const Entry& entry : kErrors) {
    if (entry.errnum == errnum) return &entry;
  }
  return nullptr;
}

}  // namespace

const char* ErrnoName(int errnum) {
  const Entry* entry = Find(errnum);
  return entry ? entry->name : "EUNKNOWN";
}

std::string ErrnoText(int errnum) {
  const Entry* entry = Find(errnum);
  return entry ? entry->text : "unknown error " + std::to_string(errnum);
}

Failure Failure::System(int errnum, const char* call, std::string path, std::string dest) {
  Failure failure;
  failure.errnum = errnum;
  failure.code = ErrnoName(errnum);
  failure.message = ErrnoText(errnum);
  failure.syscall = call;
  failure.path = std::move(path);
  failure.dest = std::move(dest);
  return failure;
}

Failure Failure::Input(std::string code, std::string message, Facts facts) {
  Failure failure;
  failure.code = std::move(code);
  failure.message = std::move(message);
  failure.facts = std::move(facts);
  return failure;
}

void ThrowErrno(int errnum, const char* call, std::string path, std::string dest) {
  throw Failure::System(errnum, call, std::move(path), std::move(dest));
}

void ThrowInput(std::string code, std::string message, Failure::Facts facts) {
  throw Failure::Input(std::move(code), std::move(message), std::move(facts));
}

std::optional<Failure> Catch(const std::function<void()>& work) {
  try {
    work();
    return std::nullopt;
  } catch (const Failure& failure) {
    return failure;
  } catch (const std::bad_alloc&) {
    return Failure::System(ENOMEM, "malloc");
  } catch (const std::exception& error) {
    return Failure::Input("ERR_INTERNAL", error.what());
  }
}

}  // namespace layerstack
