#include "train/log_place.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/runlog.h"
#include "train/run_folder.h"

/* The path without links and dots, also when its last part, or the folder of that, is not there yet; NULL: more is missing. */
static char *canonical(const char *path, int missing)
{
    char *real = realpath(path, NULL);
    if (real || !missing)
        return real;
    char *name = mem_strdup(path);
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/'; n--)
        name[n - 1] = 0;
    char *parent = file_parent(name), *above = canonical(parent, missing - 1), *slash = strrchr(name, '/');
    if (above)
        real = file_join(above, slash ? slash + 1 : name);
    free(name);
    free(parent);
    free(above);
    return real;
}

/* In its folder a run makes files under names of its own; those that end in .jsonl are none of them, but for one. */
static int check_inside(const char *path, const char *out, struct err *e)
{
    char *log = canonical(path, 2), *folder = canonical(out, 1);
    size_t n = folder ? strlen(folder) : 0, len = log ? strlen(log) : 0;
    int r = 0;
    if (log && folder && !strncmp(log, folder, n) && log[n] == '/') {
        const char *name = log + n + 1;
        if (strchr(name, '/') || *name == '.' || len - n < sizeof "/.jsonl" || strcmp(log + len - 6, ".jsonl"))
            r = err_set(e, "%s: a log in the folder of the run has a name of its own that ends in .jsonl", path);
    }
    free(log);
    free(folder);
    return r;
}

/* The log says it with fewer digits than the record. */
static bool same_run(json_t *logged, const char *run)
{
    json_t *j = json_loads(run, 0, NULL);
    char *a = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    char *b = logged ? json_dumps(logged, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9)) : NULL;
    bool same = a && b && !strcmp(a, b);
    free(a);
    free(b);
    json_decref(j);
    return same;
}

/* A log whose start was lost is believed where it usually lies. */
static int check_run(const char *path, const struct log_place *w, struct err *e)
{
    json_t *start = runlog_read_start(path, e);
    bool ours = start ? same_run(json_object_get(start, "run"), w->run) : !w->asked;
    json_decref(start);
    if (e->set || ours)
        return e->set ? -1 : 0;
    return err_set(e, "%s: is not the log of the run in %s; give another --log or move it away", path, w->out);
}

static int check_existing(const char *path, const struct stat *st, const struct log_place *w, struct err *e)
{
    if (S_ISDIR(st->st_mode))
        return err_set(e, "%s: is a directory, expected the name of a file for the log", path);
    if (S_ISREG(st->st_mode) && !w->force) {
        if (!w->run && w->asked)
            return err_set(e, "%s: exists already; --force replaces it", path);
        if (w->run && st->st_size && check_run(path, w, e) < 0)
            return -1;
    }
    return access(path, W_OK) < 0 ? err_sys(e, "%s: cannot write", path) : 0;
}

static int check_new(const char *path, const char *out, struct err *e)
{
    char *parent = file_parent(path), *real = canonical(parent, 1), *folder = canonical(out, 1);
    bool made = real && folder && !strcmp(real, folder); /* by the run, if it is not there */
    int r = !made && access(parent, W_OK) < 0 ? file_create_failed(path, "cannot create", e) : 0;
    free(parent);
    free(real);
    free(folder);
    return r;
}

int log_place_check(const char *path, const struct log_place *w, struct err *e)
{
    struct stat st;
    if (!strcmp(path, "-"))
        return 0;
    if (w->asked && check_inside(path, w->out, e) < 0)
        return -1;
    if (stat(path, &st) == 0)
        return check_existing(path, &st, w, e);
    return w->asked ? check_new(path, w->out, e) : 0;
}
