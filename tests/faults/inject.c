/* Makes system calls and allocations of a program fail, for tests of what it leaves behind.
 *
 *     FAULT_CALL=write FAULT_AT=3 FAULT_ERRNO=ENOSPC LD_PRELOAD=inject.so PROGRAM ...
 * The FAULT_AT-th call of FAULT_CALL (write, read, fsync, rename, open, close, malloc) fails; with FAULT_STICKY also all later
 * ones. FAULT_MATCH limits this to files whose path contains it; without it the standard descriptors are left alone. With
 * FAULT_COUNT=FILE nothing fails and the number of calls is appended to FILE at exit: that is how far FAULT_AT need go.
 * FAULT_FREE=N: file systems have N bytes free, whatever else is set.
 * FAULT_KILL: die by SIGKILL instead of failing the call. rename stands for renameat2 too, open for fopen and mkdir, malloc
 * for calloc and realloc, write for fwrite, fflush and fclose (stdio's own system calls cannot be reached from here). */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

static const char *call, *match, *count_file;
static long at, seen;
static int error;
static bool sticky, lethal, ready;

__attribute__((constructor)) static void setup(void)
{
    const char *number = getenv("FAULT_AT"), *name = getenv("FAULT_ERRNO");
    call = getenv("FAULT_CALL");
    match = getenv("FAULT_MATCH");
    count_file = getenv("FAULT_COUNT");
    sticky = getenv("FAULT_STICKY") != NULL;
    lethal = getenv("FAULT_KILL") != NULL;
    at = number ? strtol(number, NULL, 10) : 0;
    error = !name ? EIO : !strcmp(name, "ENOSPC") ? ENOSPC : !strcmp(name, "EACCES") ? EACCES : !strcmp(name, "ENOMEM") ? ENOMEM : EIO;
    ready = call != NULL;
}

__attribute__((destructor)) static void report(void)
{
    FILE *f;
    bool counting = ready && count_file;
    ready = false;
    if (counting && (f = fopen(count_file, "a"))) {
        fprintf(f, "%ld\n", seen);
        fclose(f);
    }
}

static bool fails(const char *name)
{
    if (!ready || strcmp(call, name))
        return false;
    long n = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (count_file || !(n == at || (sticky && n > at)))
        return false;
    if (lethal)
        kill(getpid(), SIGKILL);
    errno = error;
    return true;
}

static bool path_fails(const char *name, const char *path)
{
    return (!match || strstr(path, match)) && fails(name);
}

static bool fd_fails(const char *name, int fd)
{
    char link[64], path[4096];
    if (!ready || strcmp(call, name))
        return false;
    if (match) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        path[n > 0 ? n : 0] = 0;
        if (!strstr(path, match))
            return false;
    } else if (fd <= STDERR_FILENO) {
        return false;
    }
    return fails(name);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t n)
{
    return fd_fails("write", fd) ? -1 : REAL(write)(fd, data, n);
}

ssize_t read(int fd, void *data, size_t n)
{
    return fd_fails("read", fd) ? -1 : REAL(read)(fd, data, n);
}

int fsync(int fd)
{
    return fd_fails("fsync", fd) ? -1 : REAL(fsync)(fd);
}

int close(int fd)
{
    /* The descriptor is gone also when close reports an error. */
    bool bad = fd_fails("close", fd);
    int r = REAL(close)(fd), saved = bad ? error : errno;
    errno = saved;
    return bad ? -1 : r;
}

int statvfs(const char *restrict path, struct statvfs *restrict s)
{
    const char *free_bytes = getenv("FAULT_FREE");
    int r = REAL(statvfs)(path, s);
    if (r == 0 && free_bytes) {
        s->f_frsize = 1;
        s->f_bavail = strtoul(free_bytes, NULL, 10);
    }
    return r;
}

int rename(const char *from, const char *to)
{
    return path_fails("rename", to) ? -1 : REAL(rename)(from, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return path_fails("rename", to) ? -1 : REAL(renameat2)(from_dir, from, to_dir, to, flags);
}

int mkdir(const char *path, mode_t mode)
{
    return path_fails("open", path) ? -1 : REAL(mkdir)(path, mode);
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list ap;
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    return path_fails("open", path) ? -1 : REAL(open)(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    return path_fails("open", path) ? NULL : REAL(fopen)(path, mode);
}

/* A stream that failed says so from then on. The flag is glibc's _IO_ERR_SEEN. */
static bool stream_fails(FILE *f)
{
    enum { ERR_SEEN = 0x20 };
    if (!f || fileno(f) < 0 || (fcntl(fileno(f), F_GETFL) & O_ACCMODE) == O_RDONLY || !fd_fails("write", fileno(f)))
        return false;
    f->_flags |= ERR_SEEN;
    errno = error;
    return true;
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *f)
{
    return stream_fails(f) ? 0 : REAL(fwrite)(data, size, n, f);
}

int fflush(FILE *f)
{
    return stream_fails(f) ? EOF : REAL(fflush)(f);
}

int fclose(FILE *f)
{
    bool bad = stream_fails(f);
    int r = REAL(fclose)(f);
    if (bad)
        errno = error;
    return bad ? EOF : r;
}

/* dlsym itself allocates, so the allocator is reached by the names that glibc exports for this purpose. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
    return fails("malloc") ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t size)
{
    return fails("malloc") ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t n)
{
    return fails("malloc") ? NULL : __libc_realloc(p, n);
}
