// A disk that remembers. It serves one file by FUSE, for a loop device over it, and logs in their order the
// writes and flushes that the file gets.
//
//   disk MOUNT_POINT IMAGE LOG
//
// MOUNT_POINT is an existing file, over which the disk is mounted; IMAGE has its content. A record of LOG is
// two numbers of 64 bits, offset and length, and the data; a flush has the offset -1 and no data. Requests
// are served one after the other, so a write that comes before a flush in the log was complete before it.
// Prints "ready", and ends when MOUNT_POINT is unmounted.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_WRITE (1 << 17)

static int device, image, journal;
static char request[MAX_WRITE + 4096];
static char answer[MAX_WRITE];

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static void reply(const struct fuse_in_header* in, int error, const void* data, size_t length) {
  struct fuse_out_header out = {(uint32_t)(sizeof out + length), -error, in->unique};
  struct iovec parts[] = {{&out, sizeof out}, {(void*)data, length}};
  // ENOENT: the request was interrupted meanwhile.
  if (writev(device, parts, 2) < 0 && errno != ENOENT) fail("reply");
}

static void record(uint64_t offset, uint64_t length, const void* data) {
  struct {
    uint64_t offset, length;
  } head = {offset, length};
  struct iovec parts[] = {{&head, sizeof head}, {(void*)data, length}};
  if (writev(journal, parts, 2) != (ssize_t)(sizeof head + length)) fail("log");
}

static void attributes(const struct fuse_in_header* in) {
  struct stat status;
  if (fstat(image, &status) < 0) fail("fstat");
  struct fuse_attr_out out = {
      .attr_valid = 3600,
      .attr = {.ino = FUSE_ROOT_ID,
               .size = (uint64_t)status.st_size,
               .mode = S_IFREG | 0600,
               .nlink = 1,
               .blksize = 4096},
  };
  reply(in, 0, &out, sizeof out);
}

static void initialise(const struct fuse_in_header* in) {
  struct fuse_init_out out = {
      .major = FUSE_KERNEL_VERSION,
      .minor = 31,
      .max_readahead = 0,
      .flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES,
      .max_background = 12,
      .congestion_threshold = 9,
      .max_write = MAX_WRITE,
      .max_pages = MAX_WRITE / 4096,
  };
  reply(in, 0, &out, sizeof out);
}

static void serve(const struct fuse_in_header* in, const void* argument) {
  switch (in->opcode) {
    case FUSE_INIT: return initialise(in);
    case FUSE_GETATTR: return attributes(in);
    case FUSE_OPEN: {
      struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO};
      return reply(in, 0, &out, sizeof out);
    }
    case FUSE_READ: {
      const struct fuse_read_in* read = argument;
      ssize_t length = pread(image, answer, read->size, (off_t)read->offset);
      if (length < 0) fail("pread");
      return reply(in, 0, answer, (size_t)length);
    }
    case FUSE_WRITE: {
      const struct fuse_write_in* write = argument;
      if (pwrite(image, write + 1, write->size, (off_t)write->offset) != (ssize_t)write->size) fail("pwrite");
      record(write->offset, write->size, write + 1);
      struct fuse_write_out out = {.size = write->size};
      return reply(in, 0, &out, sizeof out);
    }
    case FUSE_FSYNC: record(UINT64_MAX, 0, NULL); return reply(in, 0, NULL, 0);
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_DESTROY: return reply(in, 0, NULL, 0);
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: return;
    default: return reply(in, ENOSYS, NULL, 0);
  }
}

int main(int count, char** words) {
  if (count != 4) return 2;
  device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  image = open(words[2], O_RDWR | O_CLOEXEC);
  journal = open(words[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (device < 0 || image < 0 || journal < 0) fail("open");
  char options[80];
  snprintf(options, sizeof options, "fd=%d,rootmode=100000,user_id=0,group_id=0", device);
  if (mount("disk", words[1], "fuse", MS_NOSUID | MS_NODEV, options) < 0) fail("mount");
  puts("ready");
  fflush(stdout);
  for (;;) {
    ssize_t length = read(device, request, sizeof request);
    if (length < 0 && errno == ENODEV) return 0;
    if (length < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT) fail("read");
    if (length >= (ssize_t)sizeof(struct fuse_in_header))
      serve((struct fuse_in_header*)request, request + sizeof(struct fuse_in_header));
  }
}
