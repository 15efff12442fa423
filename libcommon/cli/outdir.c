/* Folders that appear whole: cli/outfile.h. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/outfile.h"
#include "cli/temporary.h"

struct outdir {
    char *path;
    bool force;
    struct temporary *temp;
};

static void outdir_free(struct outdir *d)
{
    temporary_drop(d->temp);
    free(d->path);
    free(d);
}

struct outdir *outdir_open(const char *path, bool force, struct err *e)
{
    struct outdir *d = mem_zalloc(1, sizeof *d);
    struct stat st;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *trimmed = mem_strndup(path, n);
    d->path = temporary_resolve(trimmed);
    free(trimmed);
    d->force = force;
    if (!strcmp(d->path, "-")) {
        err_set(e, "-: the output is a folder and cannot go to stdout");
        goto fail;
    }
    if (lstat(d->path, &st) == 0) {
        if (!force) {
            err_set(e, "%s: exists already; --force replaces it", d->path);
            goto fail;
        }
        if (!S_ISDIR(st.st_mode)) {
            err_set(e, "%s: is not a directory, expected the name of a folder to write", d->path);
            goto fail;
        }
    }
    d->temp = temporary_add(d->path);
    if (mkdir(d->temp->path, 0777) < 0) {
        file_create_failed(d->path, "cannot create a folder beside it", e);
        goto fail;
    }
    temporary_hold(d->temp);
    return d;
fail:
    outdir_free(d);
    return NULL;
}

const char *outdir_path(const struct outdir *d)
{
    return d->temp->path;
}

static int sync_tree(const char *path, struct err *e)
{
    DIR *dir = opendir(path);
    if (!dir)
        return err_sys(e, "%s: cannot list", path);
    int r = 0;
    errno = 0;
    for (struct dirent *d; r == 0 && (d = readdir(dir));) {
        if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
            continue;
        char *child = file_join(path, d->d_name);
        struct stat st;
        if (lstat(child, &st) < 0)
            r = err_sys(e, "%s: cannot stat", child);
        else if (S_ISDIR(st.st_mode))
            r = sync_tree(child, e);
        else if (S_ISREG(st.st_mode) && temporary_sync_path(child) < 0)
            r = err_sys(e, "%s: cannot sync", child);
        free(child);
        errno = 0;
    }
    if (r == 0 && errno)
        r = err_sys(e, "%s: cannot list", path);
    closedir(dir);
    if (r == 0 && temporary_sync_path(path) < 0)
        r = err_sys(e, "%s: cannot sync", path);
    return r;
}

int outdir_commit(struct outdir *d, struct err *e)
{
    int r = sync_tree(d->temp->path, e);
    if (r == 0)
        r = temporary_publish(d->temp, d->path, d->force, e);
    outdir_free(d);
    return r;
}

void outdir_abort(struct outdir *d)
{
    if (d)
        outdir_free(d);
}

int outdir_remove(const char *path, struct err *e)
{
    return temporary_remove_tree(path) < 0 ? err_sys(e, "%s: cannot remove", path) : 0;
}
