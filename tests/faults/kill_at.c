/* A kill -9 between two steps: preloaded into a process, it stands before every call of the C library that
   changes what is on the disk below one directory, counts them, and ends the process before the n-th. Told
   through a file mapped into the process and into whoever tells it; processes forked later share it.

   No steps are syncs, which a kill leaves as good as done, calls that find their file made already, and, of a
   file that is written many times on end, the third time and those after it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE, WRITE, RENAME, REMOVE, MAKE, TRUNCATE, KINDS };

struct told {
    volatile int kill_at;      /* 1: before the first call; 0: never */
    volatile int calls;        /* so far */
    volatile int kinds[KINDS]; /* the same, by kind */
    char root[1024];           /* the directory, absolute; empty: none */
};

static struct told *told;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("KILL_AT");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (told == MAP_FAILED) told = NULL;
    close(fd);
}

static int is_below(const char *path) {
    size_t length = strlen(told->root);
    return length && !strncmp(path, told->root, length);
}

static void step(int kind, const char *path) {
    static char last[4096]; /* written */
    static int times;
    times = kind == WRITE && !strcmp(path, last) ? times + 1 : 1;
    snprintf(last, sizeof last, "%s", kind == WRITE ? path : "");
    if (times > 2) return;
    __atomic_add_fetch(&told->kinds[kind], 1, __ATOMIC_SEQ_CST);
    if (__atomic_add_fetch(&told->calls, 1, __ATOMIC_SEQ_CST) == told->kill_at) {
        kill(getpid(), SIGKILL);
        for (;;) pause(); /* it comes while this thread is about to return */
    }
}

static int named(int fd, char *path, size_t size) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static void at_fd(int fd, int kind) {
    char path[4096];
    if (told && told->root[0] && fd >= 0 && named(fd, path, sizeof path)) step(kind, path);
}

static void at_path(int directory, const char *path, int kind) {
    char parent[4096];
    if (!told || !told->root[0]) return;
    if (path[0] == '/' ? is_below(path) : directory >= 0 && named(directory, parent, sizeof parent)) step(kind, path);
}

static void at_new(int directory, const char *path, int kind) {
    if (faccessat(directory, path, F_OK, AT_SYMLINK_NOFOLLOW)) at_path(directory, path, kind);
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    at_fd(fd, WRITE);
    return real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    at_fd(fd, WRITE);
    return real(fd, parts, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    REAL(pwrite);
    at_fd(fd, WRITE);
    return real(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    REAL(pwrite64);
    at_fd(fd, WRITE);
    return real(fd, bytes, count, offset);
}

int ftruncate(int fd, off_t length) {
    REAL(ftruncate);
    at_fd(fd, TRUNCATE);
    return real(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    at_fd(fd, TRUNCATE);
    return real(fd, length);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    at_path(-1, to, RENAME);
    return real(from, to);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    REAL(renameat);
    at_path(to_directory, to, RENAME);
    return real(from_directory, from, to_directory, to);
}

int unlink(const char *path) {
    REAL(unlink);
    at_path(-1, path, REMOVE);
    return real(path);
}

int rmdir(const char *path) {
    REAL(rmdir);
    at_path(-1, path, REMOVE);
    return real(path);
}

int unlinkat(int directory, const char *path, int flags) {
    REAL(unlinkat);
    at_path(directory, path, REMOVE);
    return real(directory, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    at_new(AT_FDCWD, path, MAKE);
    return real(path, mode);
}

int mkdirat(int directory, const char *path, mode_t mode) {
    REAL(mkdirat);
    at_new(directory, path, MAKE);
    return real(directory, path, mode);
}

#define OPENS(name)                                                             \
    int name(const char *path, int flags, ...) {                                \
        REAL(name);                                                             \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;               \
        va_end(rest);                                                           \
        if (flags & O_TRUNC) at_path(-1, path, CREATE);                         \
        else if (flags & O_CREAT) at_new(AT_FDCWD, path, CREATE);               \
        return real(path, flags, mode);                                         \
    }

OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                          \
    int name(int directory, const char *path, int flags, ...) {                 \
        REAL(name);                                                             \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;               \
        va_end(rest);                                                           \
        if (flags & O_TRUNC) at_path(directory, path, CREATE);                  \
        else if (flags & O_CREAT) at_new(directory, path, CREATE);              \
        return real(directory, path, flags, mode);                              \
    }

OPENS_AT(openat)
OPENS_AT(openat64)
