/*
 * The least that creating, mounting, unmounting and removing a container can cost: its directories and one mount(2).
 *
 *   floor OVERLAY2 LOWERS COUNT
 *
 * OVERLAY2 is the store's directory, LOWERS its l/ names topmost first, joined by colons. Prints one line per container:
 * microseconds of mkdirs and mount, and of umount2 and rmdirs.
 */
#define _GNU_SOURCE
#include <errno.h>
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

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  check(chdir(argv[1]), "chdir");
  char data[8192];
  snprintf(data, sizeof data, "lowerdir=floor-init/diff:%s,upperdir=floor/diff,workdir=floor/work", argv[2]);
  for (int round = atoi(argv[3]); round > 0; round--) {
    double start = now_us();
    for (int i = 0; i < kCount; i++) check(mkdir(kDirectories[i], 0700), kDirectories[i]);
    check(mount("overlay", "floor/merged", "overlay", 0, data), "mount");
    double mounted = now_us();
    check(umount2("floor/merged", MNT_DETACH), "umount2");
    rmdir("floor/work/work"); /* the kernel makes it */
    for (int i = kCount - 1; i >= 0; i--) check(rmdir(kDirectories[i]), kDirectories[i]);
    printf("%.1f %.1f\n", mounted - start, now_us() - mounted);
  }
  return 0;
}
