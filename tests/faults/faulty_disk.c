/* A disk that fails or hangs when told to: preloaded into a process, it stands before the C library's write,
   fdatasync and fsync of files named *.log. Told through a file of integers mapped into both processes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct disk {
    volatile int write_error, sync_error; /* errno of every call, 0: none */
    volatile int stalled;                 /* calls wait while this is set */
    volatile int fail_at;                 /* the n-th call from now on fails once */
    volatile int failed_syncs, repeated_syncs; /* repeated: of a descriptor whose sync had failed */
};

static struct disk *disk;
static char sync_failed[65536];

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("FAULTY_DISK");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) disk = mmap(NULL, sizeof *disk, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (disk == MAP_FAILED) disk = NULL;
    if (fd >= 0) close(fd);
}

static int is_segment(int fd) {
    char link[32] = "/proc/self/fd/", path[4096], digits[12];
    int n = 0, at = 14;
    if (!disk || fd < 0) return 0;
    for (int rest = fd; n == 0 || rest; rest /= 10) digits[n++] = '0' + rest % 10;
    while (n) link[at++] = digits[--n];
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 4) return 0;
    path[length] = 0;
    return strstr(path, ".log") != NULL;
}

static int fails(int error) {
    while (disk->stalled) usleep(10000);
    if (disk->fail_at > 0 && --disk->fail_at == 0) error = EIO;
    if (error) errno = error;
    return error;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (is_segment(fd) && fails(disk->write_error)) return -1;
    return real(fd, bytes, count);
}

static int synced(int fd, int (*real)(int)) {
    if (!is_segment(fd)) return real(fd);
    disk->repeated_syncs += sync_failed[fd];
    if (!fails(disk->sync_error)) return real(fd);
    disk->failed_syncs++;
    sync_failed[fd] = 1;
    return -1;
}

int fdatasync(int fd) { return synced(fd, dlsym(RTLD_NEXT, "fdatasync")); }

int fsync(int fd) { return synced(fd, dlsym(RTLD_NEXT, "fsync")); }

int close(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    if (fd >= 0) sync_failed[fd] = 0;
    return real(fd);
}
