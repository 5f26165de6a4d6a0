/*
 * The least that a job can cost, for the jobs that no plain tool does:
 *
 *   floor containers OVERLAY2 LOWERS COUNT   makes, mounts, unmounts and removes containers: their directories and one
 *                                            mount(2). OVERLAY2 is the store's directory, LOWERS its l/ names topmost
 *                                            first, joined by colons. Prints one line per container: microseconds of
 *                                            mkdirs and mount, and of umount2 and rmdirs.
 *   floor walk DIRECTORY                     looks at every entry below. Prints microseconds.
 *   floor cat DIRECTORY                      writes the bytes of every file below to stdout, those of hard links once.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void check(int result, const char *what) {
  if (result == 0) return;
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* Those of the container, and of the init layer below it. */
static const char *const kDirectories[] = {"floor-init", "floor-init/diff", "floor-init/work", "floor",
                                           "floor/diff", "floor/work",      "floor/merged"};
enum { kCount = sizeof kDirectories / sizeof *kDirectories };

static void containers(const char *overlay, const char *lowers, int count) {
  check(chdir(overlay), "chdir");
  char data[8192];
  snprintf(data, sizeof data, "lowerdir=floor-init/diff:%s,upperdir=floor/diff,workdir=floor/work", lowers);
  for (int round = count; round > 0; round--) {
    double start = now_us();
    for (int i = 0; i < kCount; i++) check(mkdir(kDirectories[i], 0700), kDirectories[i]);
    check(mount("overlay", "floor/merged", "overlay", 0, data), "mount");
    double mounted = now_us();
    check(umount2("floor/merged", MNT_DETACH), "umount2");
    rmdir("floor/work/work"); /* the kernel makes it */
    for (int i = kCount - 1; i >= 0; i--) check(rmdir(kDirectories[i]), kDirectories[i]);
    printf("%.1f %.1f\n", mounted - start, now_us() - mounted);
  }
}

static void write_file(int directory, const char *name) {
  static char buffer[256 << 10];
  int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW);
  if (fd < 0) check(fd, name);
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) != 0;) {
    if (got < 0) check(-1, name);
    for (ssize_t done = 0, put; done < got; done += put) {
      put = write(1, buffer + done, got - done);
      if (put < 0) check(-1, "write");
    }
  }
  close(fd);
}

/* Hard links that were written: an image has a handful. */
static ino_t written[65536];
static int written_count;

static int is_first_name(const struct stat *info) {
  if (info->st_nlink == 1) return 1;
  for (int i = 0; i < written_count; i++)
    if (written[i] == info->st_ino) return 0;
  if (written_count < 65536) written[written_count++] = info->st_ino;
  return 1;
}

/* Takes fd. */
static void walk(int fd, int with_bytes) {
  DIR *directory = fdopendir(fd);
  if (directory == NULL) check(-1, "fdopendir");
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    struct stat info;
    check(fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW), entry->d_name);
    if (S_ISDIR(info.st_mode)) {
      int below = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (below < 0) check(below, entry->d_name);
      walk(below, with_bytes);
    } else if (with_bytes && S_ISREG(info.st_mode) && is_first_name(&info)) {
      write_file(fd, entry->d_name);
    }
  }
  closedir(directory);
}

int main(int argc, char **argv) {
  if (argc == 5 && strcmp(argv[1], "containers") == 0) {
    containers(argv[2], argv[3], atoi(argv[4]));
    return 0;
  }
  if (argc != 3) return 2;
  double start = now_us();
  int fd = open(argv[2], O_RDONLY | O_DIRECTORY);
  if (fd < 0) check(fd, argv[2]);
  int with_bytes = strcmp(argv[1], "cat") == 0;
  walk(fd, with_bytes);
  if (!with_bytes) printf("%.1f\n", now_us() - start);
  return 0;
}
