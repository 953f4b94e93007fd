/* Makes one call of the system library fail, to see what a script says of a broken disk.

   Preloaded (LD_PRELOAD) into a Python process. While the variable VOUCH_FAULT is set to "KIND NUMBER ERRNO FOLDER",
   calls of that kind on files below the folder are counted, and the one of that number fails with that errno, without
   having been made. With NUMBER 0 none fails, and one byte a call is appended to the file VOUCH_FAULT_COUNT.
   Kinds: open (for reading or writing), read, write, sync, rename. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic long count;

/* Whether this call is the one that fails; sets errno if so. */
static int fails(const char *kind, const char *path) {
  const char *asked = getenv("VOUCH_FAULT");
  char wanted[16], folder[PATH_MAX], whole[PATH_MAX];
  long number;
  int error;
  if (!asked || !path || sscanf(asked, "%15s %ld %d %4095s", wanted, &number, &error, folder) != 4) return 0;
  if (strcmp(kind, wanted)) return 0;
  if (path[0] != '/') {
    if (!getcwd(whole, sizeof whole)) return 0;
    size_t length = strlen(whole);
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    path = whole;
  }
  if (strncmp(path, folder, strlen(folder))) return 0;
  long now = ++count;
  if (!number && getenv("VOUCH_FAULT_COUNT")) {
    int file = syscall(SYS_openat, AT_FDCWD, getenv("VOUCH_FAULT_COUNT"), O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (file >= 0) {
      syscall(SYS_write, file, ".", 1);
      syscall(SYS_close, file);
    }
  }
  if (now != number) return 0;
  errno = error;
  return 1;
}

static int fails_at(const char *kind, int descriptor) {
  char link[64], path[PATH_MAX];
  if (!getenv("VOUCH_FAULT")) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(kind, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                              \
  int name(const char *path, int flags, ...) {                  \
    va_list rest;                                               \
    va_start(rest, flags);                                      \
    mode_t mode = va_arg(rest, mode_t);                         \
    va_end(rest);                                               \
    return fails("open", path) ? -1 : REAL(name)(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define FOPEN(name) \
  FILE *name(const char *path, const char *mode) { return fails("open", path) ? NULL : REAL(name)(path, mode); }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t read(int file, void *data, size_t size) { return fails_at("read", file) ? -1 : REAL(read)(file, data, size); }

#define PREAD(name, type)                                                  \
  ssize_t name(int file, void *data, size_t size, type offset) {           \
    return fails_at("read", file) ? -1 : REAL(name)(file, data, size, offset); \
  }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

ssize_t write(int file, const void *data, size_t size) {
  return fails_at("write", file) ? -1 : REAL(write)(file, data, size);
}
ssize_t writev(int file, const struct iovec *parts, int number) {
  return fails_at("write", file) ? -1 : REAL(writev)(file, parts, number);
}
int fsync(int file) { return fails_at("sync", file) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return fails_at("sync", file) ? -1 : REAL(fdatasync)(file); }
int rename(const char *from, const char *to) { return fails("rename", to) ? -1 : REAL(rename)(from, to); }
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  return fails("rename", to) ? -1 : REAL(renameat)(from_folder, from, to_folder, to);
}
