/*
 * Measures the least cost of jobs that no plain tool does:
 *
 *   floor containers ROOT ID MOUNT_ID COUNT
 *     Creates, mounts, unmounts and removes containers like the one in the store ROOT that has the id ID and
 *     the RW layer MOUNT_ID (not mounted): every directory, file and link of Docker's layout with the same
 *     bytes, and one mount(2). Prints one line per container: microseconds to create and mount, and to
 *     unmount and remove.
 *   floor walk DIRECTORY
 *     Reads the metadata of every entry below. Prints microseconds.
 *   floor cat DIRECTORY
 *     Writes the bytes of every file below to stdout, those of hard links once.
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

/* One directory, file or link of a container. */
struct entry {
  mode_t mode;
  char path[256];
  char *content; /* of a file; where a link points */
  size_t size;
};
static struct entry entries[256];
static int entry_count;

static struct entry *add(mode_t mode, const char *path) {
  if (entry_count == sizeof entries / sizeof *entries) check(-1, "too many entries");
  struct entry *entry = &entries[entry_count++];
  entry->mode = mode;
  if (snprintf(entry->path, sizeof entry->path, "%s", path) >= (int)sizeof entry->path) check(-1, path);
  return entry;
}

static char *slurp(const char *path, size_t size) {
  char *content = calloc(1, size + 1);
  int fd = open(path, O_RDONLY);
  if (content == NULL || fd < 0 || read(fd, content, size) != (ssize_t)size) check(-1, path);
  close(fd);
  return content;
}

/* Records the tree at `from`, to be created at `to`. A directory comes before its content. */
static void take(const char *from, const char *to) {
  struct stat info;
  check(lstat(from, &info), from);
  struct entry *entry = add(info.st_mode, to);
  if (S_ISREG(info.st_mode)) {
    entry->size = info.st_size;
    entry->content = slurp(from, entry->size);
  } else if (S_ISLNK(info.st_mode)) {
    entry->content = calloc(1, info.st_size + 1);
    if (entry->content == NULL || readlink(from, entry->content, info.st_size) < 0) check(-1, from);
  }
  if (!S_ISDIR(info.st_mode)) return;
  DIR *directory = opendir(from);
  if (directory == NULL) check(-1, from);
  for (struct dirent *each; (each = readdir(directory)) != NULL;) {
    if (strcmp(each->d_name, ".") == 0 || strcmp(each->d_name, "..") == 0) continue;
    char below_from[512], below_to[512];
    snprintf(below_from, sizeof below_from, "%s/%s", from, each->d_name);
    snprintf(below_to, sizeof below_to, "%s/%s", to, each->d_name);
    take(below_from, below_to);
  }
  closedir(directory);
}

static void take_tree(const char *format, const char *id) {
  char from[512], to[512];
  snprintf(from, sizeof from, format, id);
  snprintf(to, sizeof to, format, "floor");
  take(from, to);
}

static void make(const struct entry *entry) {
  if (S_ISDIR(entry->mode)) return check(mkdir(entry->path, entry->mode & 07777), entry->path);
  if (S_ISLNK(entry->mode)) return check(symlink(entry->content, entry->path), entry->path);
  int fd = open(entry->path, O_WRONLY | O_CREAT | O_EXCL, entry->mode & 07777);
  if (fd < 0 || write(fd, entry->content, entry->size) != (ssize_t)entry->size) check(-1, entry->path);
  close(fd);
}

/*
 * Writes the options of mount(2), with names relative to the store: the init layer, and the layers of its
 * `lower`.
 */
static void mount_data(const char *mount_id, char *data, size_t size) {
  char path[512];
  struct stat info;
  snprintf(path, sizeof path, "overlay2/%s-init/lower", mount_id);
  check(stat(path, &info), path);
  char *lowers = slurp(path, info.st_size);
  int used = snprintf(data, size, "upperdir=overlay2/floor/diff,workdir=overlay2/floor/work,lowerdir=overlay2/floor-init/diff");
  for (char *lower = strtok(lowers, ":"); lower != NULL; lower = strtok(NULL, ":"))
    used += snprintf(data + used, size - used, ":overlay2/%s", lower);
  free(lowers);
}

static void containers(const char *root, const char *id, const char *mount_id, int count) {
  check(chdir(root), root);
  umask(0);
  take_tree("overlay2/%s-init", mount_id);
  take_tree("overlay2/%s", mount_id);
  take_tree("image/overlay2/layerdb/mounts/%s", id);
  take_tree("containers/%s", id);
  add(S_IFLNK, "overlay2/l/FLOOR")->content = "../floor/diff";
  add(S_IFLNK, "overlay2/l/FLOOR-INIT")->content = "../floor-init/diff";
  add(S_IFDIR | 0700, "overlay2/floor/merged");
  char data[4096];
  mount_data(mount_id, data, sizeof data);
  for (int round = count; round > 0; round--) {
    double start = now_us();
    for (int i = 0; i < entry_count; i++) make(&entries[i]);
    check(mount("overlay", "overlay2/floor/merged", "overlay", 0, data), "mount");
    double mounted = now_us();
    check(umount2("overlay2/floor/merged", MNT_DETACH), "umount2");
    rmdir("overlay2/floor/work/work"); /* the kernel creates it */
    for (int i = entry_count - 1; i >= 0; i--)
      check(S_ISDIR(entries[i].mode) ? rmdir(entries[i].path) : unlink(entries[i].path), entries[i].path);
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

/* Inodes of hard links that are written already. An image has a handful. */
static ino_t written[65536];
static int written_count;

static int is_first_name(const struct stat *info) {
  if (info->st_nlink == 1) return 1;
  for (int i = 0; i < written_count; i++)
    if (written[i] == info->st_ino) return 0;
  if (written_count < 65536) written[written_count++] = info->st_ino;
  return 1;
}

/* Closes fd. */
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
  if (argc == 6 && strcmp(argv[1], "containers") == 0) {
    containers(argv[2], argv[3], argv[4], atoi(argv[5]));
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
