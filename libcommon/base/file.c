#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static int read_all(struct buf *b, int fd, const char *path, size_t limit, struct err *e)
{
    for (;;) {
        buf_reserve(b, 1 << 16);
        ssize_t n = read(fd, b->data + b->len, b->cap - b->len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, "%s: cannot read", path);
        if (n == 0)
            return 0;
        buf_set_len(b, b->len + (size_t)n);
        if (b->len > limit)
            return err_set(e, "%s: larger than the %zu bytes that such a file may have", path, limit);
    }
}

static int open_input(const char *path, struct stat *st, struct err *e)
{
    int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : dup(0);
    if (fd < 0)
        return err_sys(e, "%s: cannot open", path);
    if (fstat(fd, st) < 0 || S_ISDIR(st->st_mode)) {
        if (S_ISDIR(st->st_mode))
            err_set(e, "%s: is a directory", path);
        else
            err_sys(e, "%s: cannot stat", path);
        close(fd);
        return -1;
    }
    return fd;
}

int file_map(struct file_map *m, const char *path, struct err *e)
{
    struct stat st = {0};
    struct buf b = BUF_INIT;
    *m = (struct file_map){(const unsigned char *)"", 0, false};
    int fd = open_input(path, &st, e);
    if (fd < 0)
        return -1;
    if (S_ISREG(st.st_mode) && strcmp(path, "-")) {
        void *p = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0) : NULL;
        if (p == MAP_FAILED) {
            err_sys(e, "%s: cannot map", path);
            close(fd);
            return -1;
        }
        if (p)
            *m = (struct file_map){p, (size_t)st.st_size, true};
    } else {
        if (read_all(&b, fd, path, SIZE_MAX / 2, e) < 0) {
            buf_release(&b);
            close(fd);
            return -1;
        }
        size_t n = b.len;
        if (n)
            *m = (struct file_map){(const unsigned char *)buf_detach(&b), n, false};
        buf_release(&b);
    }
    close(fd);
    return 0;
}

void file_unmap(struct file_map *m)
{
    if (m->mapped)
        munmap((void *)m->data, m->size);
    else if (m->size)
        free((void *)m->data);
    *m = (struct file_map){(const unsigned char *)"", 0, false};
}

void file_map_drop(const struct file_map *m, const void *data, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)data / page * page, to = ((uintptr_t)data + len + page - 1) / page * page;
    if (m->mapped && len > 0)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

int file_read(struct buf *b, const char *path, size_t limit, struct err *e)
{
    struct stat st = {0};
    int fd = open_input(path, &st, e);
    if (fd < 0)
        return -1;
    int r = read_all(b, fd, path, limit, e);
    close(fd);
    return r;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *file_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return mem_printf("%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

char *file_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash ? mem_strdup(".") : slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

int file_create_failed(const char *path, const char *what, struct err *e)
{
    int why = errno;
    char *parent = file_parent(path);
    if ((why == ENOENT || why == ENOTDIR) && !file_exists(parent)) {
        err_set(e, "%s: %s: the folder %s does not exist", path, what, parent);
    } else if (why == ENOTDIR) {
        err_set(e, "%s: %s: %s is not a folder", path, what, parent);
    } else {
        errno = why;
        err_sys(e, "%s: %s", path, what);
    }
    free(parent);
    return -1;
}

int file_write(const char *path, const void *data, size_t len, struct err *e)
{
    FILE *f = fopen(path, "we");
    int r = 0;
    if (!f || fwrite(data, 1, len, f) != len)
        r = err_sys(e, "%s: cannot write", path);
    if (f && fclose(f) != 0)
        r = err_sys(e, "%s: cannot write", path);
    return r;
}
