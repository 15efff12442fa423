#include "cli/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/temporary.h"

enum { BUFFER = 1 << 18 };

struct outfile {
    char *path;             /* the target, links resolved; "stdout" for "-" */
    bool force, standard;
    struct temporary *temp; /* NULL: written directly */
    FILE *stream;
    char *buffer;
    int fd;
    int failed;             /* errno of the first write that failed */
};

/* stdio forgets why a write failed; this keeps it for the commit. */
static ssize_t cookie_write(void *cookie, const char *data, size_t n)
{
    struct outfile *f = cookie;
    for (size_t done = 0; done < n && !f->failed;) {
        ssize_t r = write(f->fd, data + done, n - done);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            f->failed = errno;
        else
            done += (size_t)r;
    }
    return f->failed ? 0 : (ssize_t)n;
}

/* The descriptor goes first: what is still buffered is not written. */
static void outfile_free(struct outfile *f)
{
    if (f->fd >= 0 && !f->standard)
        close(f->fd);
    f->fd = -1;
    if (f->stream)
        fclose(f->stream);
    temporary_drop(f->temp);
    free(f->buffer);
    free(f->path);
    free(f);
}

static int open_target(struct outfile *f, struct err *e)
{
    struct stat st;
    bool exists = stat(f->path, &st) == 0;
    if (exists && S_ISDIR(st.st_mode))
        return err_set(e, "%s: is a directory, expected the name of a file to write", f->path);
    if (exists && !S_ISREG(st.st_mode)) {
        f->fd = open(f->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return f->fd < 0 ? err_sys(e, "%s: cannot open for writing", f->path) : 0;
    }
    if (exists && !f->force)
        return err_set(e, "%s: exists already; --force replaces it", f->path);
    f->temp = temporary_add(f->path);
    f->fd = open(f->temp->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (f->fd < 0)
        return file_create_failed(f->path, "cannot create a file beside it", e);
    temporary_hold(f->temp);
    return 0;
}

struct outfile *outfile_open(const char *path, bool force, bool binary, struct err *e)
{
    static const cookie_io_functions_t io = {.write = cookie_write};
    struct outfile *f = mem_zalloc(1, sizeof *f);
    f->standard = !strcmp(path, "-");
    f->path = f->standard ? mem_strdup("stdout") : temporary_resolve(path);
    f->force = force;
    f->fd = -1;
    if (f->standard)
        f->fd = STDOUT_FILENO;
    else if (open_target(f, e) < 0)
        goto fail;
    if (binary && isatty(f->fd)) {
        err_set(e, "%s: is a terminal; binary output goes to a file or a pipe", f->path);
        goto fail;
    }
    f->stream = fopencookie(f, "w", io);
    if (!f->stream) {
        err_sys(e, "%s: cannot open a stream", f->path);
        goto fail;
    }
    f->buffer = mem_alloc(BUFFER);
    setvbuf(f->stream, f->buffer, _IOFBF, BUFFER);
    return f;
fail:
    outfile_free(f);
    return NULL;
}

FILE *outfile_stream(struct outfile *f)
{
    return f->stream;
}

static int write_failed(const struct outfile *f, struct err *e)
{
    long long free_bytes = f->failed == ENOSPC && f->temp ? outfile_free_space(f->path) : -1;
    errno = f->failed ? f->failed : EIO;
    err_sys(e, "%s: cannot write", f->path);
    if (free_bytes >= 0) {
        size_t n = strlen(e->text);
        snprintf(e->text + n, sizeof e->text - n, " (%lld bytes free)", free_bytes);
    }
    return -1;
}

int outfile_commit(struct outfile *f, struct err *e)
{
    int r = -1;
    if (fflush(f->stream) || ferror(f->stream)) {
        write_failed(f, e);
        goto out;
    }
    if (f->temp && fsync(f->fd) < 0) {
        err_sys(e, "%s: cannot sync", f->path);
        goto out;
    }
    if (!f->standard) {
        int fd = f->fd;
        f->fd = -1;
        if (close(fd) < 0) {
            err_sys(e, "%s: cannot close", f->path);
            goto out;
        }
    }
    r = f->temp ? temporary_publish(f->temp, f->path, f->force, e) : 0;
out:
    outfile_free(f);
    return r;
}

void outfile_abort(struct outfile *f)
{
    if (f)
        outfile_free(f);
}

int outfile_replace(const char *path, const void *data, size_t len, struct err *e)
{
    struct outfile *f = outfile_open(path, true, false, e);
    if (!f)
        return -1;
    fwrite(data, 1, len, f->stream);
    return outfile_commit(f, e);
}

int outfile_probe(const char *path, const char *coming, struct err *e)
{
    struct stat st;
    bool exists = stat(path, &st) == 0;
    if (!strcmp(path, "-"))
        return 0;
    if (exists && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) /* opening a FIFO would wait for its reader, and closing it end it */
        return access(path, W_OK) < 0 ? err_sys(e, "%s: cannot write", path) : 0;
    char *parent = file_parent(path);
    size_t n = coming ? strlen(parent) : 0;
    bool later = n && !file_exists(parent) && !strncmp(parent, coming, n) && strspn(coming + n, "/") == strlen(coming + n);
    free(parent);
    struct outfile *f = later ? NULL : outfile_open(path, true, false, e);
    outfile_abort(f);
    return f || later ? 0 : -1;
}

long long outfile_free_space(const char *path)
{
    struct statvfs s;
    char *parent = file_is_dir(path) ? mem_strdup(path) : file_parent(path);
    long long free_bytes = statvfs(parent, &s) == 0 ? (long long)s.f_bavail * (long long)s.f_frsize : -1;
    free(parent);
    return free_bytes;
}
