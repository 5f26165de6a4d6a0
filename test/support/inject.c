// A library for LD_PRELOAD. It counts the calls of a program that change something below INJECT_ROOT (or
// mount anything), in the order in which the threads make them. The call number INJECT_AT fails, or kills the
// process.
//
//   INJECT_ROOT   directories, separated by colons
//   INJECT_AT     number of the call, from 1; 0: none
//   INJECT_ERRNO  the error of that call; without it the process is killed before the call
//   INJECT_LOG    file that gets a line for each counted call: its number, name and path
//
// It sees only calls through libc; Node and the addon make no others. It does not see calls that libc itself
// makes (mkdtemp).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int counted;
static int at, error, log_fd = -1;
static const char *roots;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
  const char *text;
  roots = getenv("INJECT_ROOT");
  if ((text = getenv("INJECT_AT"))) at = atoi(text);
  if ((text = getenv("INJECT_ERRNO"))) error = atoi(text);
  if ((text = getenv("INJECT_LOG")))
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  unsetenv("LD_PRELOAD");  // not the program's children
}

static int below(const char *path) {
  for (const char *root = roots; root && *root;) {
    size_t length = strcspn(root, ":");
    if (strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0')) return 1;
    root += length + (root[length] == ':');
  }
  return 0;
}

static const char *of_fd(int fd, char *buffer) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, buffer, 4095);
  buffer[length > 0 ? length : 0] = '\0';
  return buffer;
}

// Whether the call shall fail; then `errno` is set.
static int hit(const char *call, const char *path) {
  int saved = errno;
  int number = atomic_fetch_add(&counted, 1) + 1;
  int hits = number == at;
  if (log_fd >= 0) {
    char line[4400];
    int length = snprintf(line, sizeof line, "%d %s %s\n", number, call, path);
    syscall(SYS_write, log_fd, line, (size_t)length);
  }
  if (hits && error == 0) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  errno = hits ? error : saved;
  return hits;
}

static int fails_at(const char *call, int dir, const char *name) {
  char path[8300], buffer[4096];
  if (name[0] == '/') snprintf(path, sizeof path, "%s", name);
  else if (dir == AT_FDCWD) return 0;
  else snprintf(path, sizeof path, "%s/%s", of_fd(dir, buffer), name);
  return below(path) && hit(call, path);
}

static int fails_fd(const char *call, int fd) {
  char buffer[4096];
  return below(of_fd(fd, buffer)) && hit(call, buffer);
}

#define OPEN(name, dir, args, ...)                                       \
  int name args {                                                        \
    mode_t mode = 0;                                                     \
    if (flags & (O_CREAT | __O_TMPFILE)) {                               \
      va_list list;                                                      \
      va_start(list, flags);                                             \
      mode = va_arg(list, mode_t);                                       \
      va_end(list);                                                      \
    }                                                                    \
    if ((flags & O_CREAT) && fails_at("open", dir, path)) return -1;     \
    return REAL(name)(__VA_ARGS__, flags, mode);                         \
  }
OPEN(open, AT_FDCWD, (const char *path, int flags, ...), path)
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), path)
OPEN(openat, dir, (int dir, const char *path, int flags, ...), dir, path)
OPEN(openat64, dir, (int dir, const char *path, int flags, ...), dir, path)

#define AT1(name, args, dir, path, ...)                 \
  int name args {                                       \
    if (fails_at(#name, dir, path)) return -1;          \
    return REAL(name)(__VA_ARGS__);                     \
  }
AT1(mkdir, (const char *p, mode_t m), AT_FDCWD, p, p, m)
AT1(mkdirat, (int d, const char *p, mode_t m), d, p, d, p, m)
AT1(mknod, (const char *p, mode_t m, dev_t v), AT_FDCWD, p, p, m, v)
AT1(mknodat, (int d, const char *p, mode_t m, dev_t v), d, p, d, p, m, v)
AT1(rmdir, (const char *p), AT_FDCWD, p, p)
AT1(unlink, (const char *p), AT_FDCWD, p, p)
AT1(unlinkat, (int d, const char *p, int f), d, p, d, p, f)
AT1(rename, (const char *p, const char *q), AT_FDCWD, p, p, q)
AT1(renameat, (int d, const char *p, int e, const char *q), d, p, d, p, e, q)
AT1(link, (const char *p, const char *q), AT_FDCWD, q, p, q)
AT1(linkat, (int d, const char *p, int e, const char *q, int f), e, q, d, p, e, q, f)
AT1(symlink, (const char *p, const char *q), AT_FDCWD, q, p, q)
AT1(symlinkat, (const char *p, int d, const char *q), d, q, p, d, q)
AT1(truncate, (const char *p, off_t s), AT_FDCWD, p, p, s)
AT1(umount2, (const char *p, int f), AT_FDCWD, p, p, f)
int mount(const char *s, const char *p, const char *t, unsigned long f, const void *data) {
  if (p[0] == '/' && below(p) && hit("mount", p)) return -1;
  return REAL(mount)(s, p, t, f, data);
}

#define FD1(result, name, args, fd, ...)                \
  result name args {                                    \
    if (fails_fd(#name, fd)) return -1;                 \
    return REAL(name)(__VA_ARGS__);                     \
  }
FD1(ssize_t, write, (int f, const void *b, size_t n), f, f, b, n)
FD1(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), f, f, b, n, o)
FD1(ssize_t, writev, (int f, const struct iovec *v, int n), f, f, v, n)
FD1(ssize_t, pwritev64, (int f, const struct iovec *v, int n, off64_t o), f, f, v, n, o)
FD1(int, ftruncate64, (int f, off64_t s), f, f, s)
FD1(int, fsync, (int f), f, f)
FD1(int, fdatasync, (int f), f, f)
FD1(int, syncfs, (int f), f, f)

long syscall(long number, ...) {
  long a[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  int fails = 0;
  switch (number) {
    case SYS_renameat2: fails = fails_at("renameat2", (int)a[0], (const char *)a[1]); break;
    case 429: fails = (int)a[0] >= 0 && hit("move_mount", (const char *)a[3]); break;
    case 430: fails = hit("fsopen", (const char *)a[0]); break;
    case 431: fails = hit("fsconfig", a[2] ? (const char *)a[2] : a[1] == 6 ? "create" : ""); break;
    case 432: fails = hit("fsmount", ""); break;
  }
  if (fails) return -1;
  return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
