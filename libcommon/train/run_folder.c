#include "train/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/outfile.h"

#define PREFIX "checkpoint-"

struct run_folder {
    char *out, *tool, started[32];
    int lock;
    bool made;             /* OUT was made by us */
    int64_t *valid;        /* steps of whole checkpoints of this run, ascending */
    int n_valid;
    char **files;          /* put at the top by run_folder_finish */
    int n_files;
};

/* ---- the lock ---- */

static void describe_holder(int fd, char busy[200])
{
    char text[120] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    snprintf(busy, 200, "another run works there%s%s", *text ? ": " : "", text);
}

static bool same_file(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* The holder removes the file before it lets go, so a lock taken on a removed file is taken again. */
static int take_lock(const char *path, char busy[200], struct err *e)
{
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return err_sys(e, "%s: cannot write", path);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            if (same_file(fd, path))
                return fd;
        } else if (errno == EWOULDBLOCK) {
            describe_holder(fd, busy);
            close(fd);
            return -1;
        } else {
            err_sys(e, "%s: cannot lock", path);
            close(fd);
            return -1;
        }
        close(fd);
    }
}

static void write_holder(const struct run_folder *f)
{
    char text[120];
    int n = snprintf(text, sizeof text, "%s, pid %ld, since %s\n", f->tool, (long)getpid(), f->started);
    if (ftruncate(f->lock, 0) < 0 || pwrite(f->lock, text, (size_t)n, 0) != n) {
        /* only the message of a second process would miss it */
    }
}

static void remove_temporaries(const struct run_folder *f)
{
    struct dirent **list;
    int n = scandir(f->out, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (fnmatch(".*.tmp-*", list[i]->d_name, 0) == 0) {
            struct err ignored = ERR_INIT;
            char *path = file_join(f->out, list[i]->d_name);
            if (outdir_remove(path, &ignored) < 0) {
                /* it costs space, nothing else */
            }
            free(path);
        }
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

struct run_folder *run_folder_open(const char *out, const char *tool, char busy[200], struct err *e)
{
    struct run_folder *f = mem_zalloc(1, sizeof *f);
    time_t now = time(NULL);
    struct tm tm;
    char *path = file_join(out, ".lock");
    busy[0] = 0;
    f->out = mem_strdup(out);
    f->tool = mem_strdup(tool);
    f->lock = -1;
    strftime(f->started, sizeof f->started, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &tm));
    if (mkdir(out, 0777) == 0)
        f->made = true;
    else if (errno != EEXIST)
        file_create_failed(out, "cannot make the folder", e);
    if (!e->set)
        f->lock = take_lock(path, busy, e);
    free(path);
    if (f->lock < 0) {
        run_folder_close(f);
        return NULL;
    }
    write_holder(f);
    remove_temporaries(f);
    return f;
}

void run_folder_close(struct run_folder *f)
{
    if (!f)
        return;
    if (f->lock >= 0) {
        char *path = file_join(f->out, ".lock");
        unlink(path);
        free(path);
        close(f->lock);
    }
    if (f->made)
        rmdir(f->out); /* fails, as it should, once anything is in it */
    for (int i = 0; i < f->n_files; i++)
        free(f->files[i]);
    free(f->files);
    free(f->valid);
    free(f->out);
    free(f->tool);
    free(f);
}

/* ---- what lies there ---- */

/* N of "checkpoint-N" as we write it, else -1. */
static int64_t step_of(const char *name)
{
    const char *p = name + sizeof PREFIX - 1;
    size_t n = strncmp(name, PREFIX, sizeof PREFIX - 1) ? 0 : strspn(p, "0123456789");
    return n && n < 19 && !p[n] && (n == 1 || *p != '0') ? strtoll(p, NULL, 10) : -1;
}

static char *checkpoint_path(const struct run_folder *f, int64_t step)
{
    char name[40];
    snprintf(name, sizeof name, PREFIX "%" PRId64, step);
    return file_join(f->out, name);
}

static int remove_named(const struct run_folder *f, const char *name, struct err *e)
{
    char *path = file_join(f->out, name);
    int r = outdir_remove(path, e);
    free(path);
    return r;
}

int run_folder_clear(struct run_folder *f, bool foreign, struct err *e)
{
    struct run_record old;
    struct err unreadable = ERR_INIT;
    struct dirent **list;
    int r = 0, n = scandir(f->out, &list, NULL, alphasort);
    if (n < 0)
        return err_sys(e, "%s: cannot list the folder", f->out);
    int known = run_record_read(&old, f->out, &unreadable);
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        bool ours = step_of(name) >= 0 || !strcmp(name, "log.jsonl") || !strcmp(name, "layers"); /* of quantize */
        if (r == 0 && strcmp(name, ".") && strcmp(name, "..") && strcmp(name, ".lock") && (ours || foreign))
            r = remove_named(f, name, e);
        free(list[i]);
    }
    free(list);
    for (int i = 0; known == 1 && i < old.n_files && r == 0; i++)
        r = remove_named(f, old.files[i], e);
    run_record_release(&old);
    return r == 0 ? remove_named(f, RUN_RECORD, e) : r; /* last: until then the folder is known to be ours */
}

static int descending(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x < *y) - (*x > *y);
}

/* Steps of all folders named like checkpoints, newest first; caller frees. */
static int64_t *list_steps(const struct run_folder *f, int *n, struct err *e)
{
    DIR *d = opendir(f->out);
    int64_t *steps = NULL;
    size_t cap = 0;
    *n = 0;
    if (!d) {
        err_sys(e, "%s: cannot list the folder", f->out);
        return NULL;
    }
    steps = mem_grow(steps, &cap, 1, sizeof *steps);
    for (struct dirent *x; (x = readdir(d));)
        if (step_of(x->d_name) >= 0) {
            steps = mem_grow(steps, &cap, (size_t)*n + 1, sizeof *steps);
            steps[(*n)++] = step_of(x->d_name);
        }
    closedir(d);
    qsort(steps, (size_t)*n, sizeof *steps, descending);
    return steps;
}

static void add_valid(struct run_folder *f, int64_t step)
{
    for (int i = 0; i < f->n_valid; i++)
        if (f->valid[i] == step)
            return;
    f->valid = mem_array(f->valid, (size_t)f->n_valid + 1, sizeof *f->valid);
    int i = f->n_valid++;
    for (; i > 0 && f->valid[i - 1] > step; i--)
        f->valid[i] = f->valid[i - 1];
    f->valid[i] = step;
}

/* 0: whole and of this run. Older ones than the newest whole one are only there to be rotated: their tensors are not read. */
static int try_checkpoint(const char *dir, int64_t step, const char *run, bool verify, struct checkpoint_state *s, struct err *e)
{
    if ((verify ? checkpoint_open(s, dir, e) : checkpoint_read(s, dir, e)) < 0)
        return -1;
    char *diff = run_differences(s->run, run);
    if (diff || s->step != step) {
        err_set(e, "%s: is of another run%s%s", dir, diff ? ": " : "", diff ? diff : "");
        checkpoint_state_release(s);
    }
    free(diff);
    return e->set ? -1 : 0;
}

int run_folder_find(struct run_folder *f, const char *run, run_say *say, struct checkpoint_state *s, char **dir, struct err *e)
{
    int n;
    int64_t *steps = list_steps(f, &n, e);
    *dir = NULL;
    if (!steps)
        return -1;
    for (int i = 0; i < n; i++) {
        struct err why = ERR_INIT;
        struct checkpoint_state other;
        char *path = checkpoint_path(f, steps[i]);
        if (try_checkpoint(path, steps[i], run, !*dir, *dir ? &other : s, &why) < 0) {
            char *text = mem_printf("skipped: %s", why.text);
            say(text);
            free(text);
            free(path);
            continue;
        }
        add_valid(f, steps[i]);
        if (*dir) {
            checkpoint_state_release(&other);
            free(path);
        } else {
            *dir = path;
        }
    }
    free(steps);
    return 0;
}

int64_t run_folder_last(const struct run_folder *f)
{
    return f->n_valid ? f->valid[f->n_valid - 1] : -1;
}

/* ---- writing ---- */

/* By way of a name that the next start removes: no kill leaves a part of a checkpoint under its name. */
static int rotate(struct run_folder *f, int64_t keep, struct err *e)
{
    while (f->n_valid > keep) {
        char *path = checkpoint_path(f, f->valid[0]), *aside = file_join(f->out, ".rotated.tmp-0");
        int r = rename(path, aside) < 0 ? err_sys(e, "%s: cannot rename to %s", path, aside) : outdir_remove(aside, e);
        free(path);
        free(aside);
        if (r < 0)
            return -1;
        memmove(f->valid, f->valid + 1, (size_t)--f->n_valid * sizeof *f->valid);
    }
    return 0;
}

int run_folder_save(struct run_folder *f, const struct checkpoint_state *s, run_write *write, void *arg, int64_t keep, struct err *e)
{
    char *path = checkpoint_path(f, s->step);
    struct outdir *d = outdir_open(path, true, e);
    int r = d ? write(arg, outdir_path(d), e) : -1;
    if (r == 0)
        r = checkpoint_seal(outdir_path(d), s, e);
    if (r == 0)
        r = outdir_commit(d, e);
    else
        outdir_abort(d);
    free(path);
    if (r < 0)
        return -1;
    add_valid(f, s->step);
    return rotate(f, keep, e);
}

static int move_up(struct run_folder *f, const char *dir, const char *name, struct err *e)
{
    char *from = file_join(dir, name), *to = file_join(f->out, name);
    int r = file_is_dir(to) ? outdir_remove(to, e) : 0;
    if (r == 0 && rename(from, to) < 0)
        r = err_sys(e, "%s: cannot rename to %s", from, to);
    free(from);
    free(to);
    f->files = mem_array(f->files, (size_t)f->n_files + 1, sizeof *f->files);
    f->files[f->n_files++] = mem_strdup(name);
    return r;
}

static int move_all(struct run_folder *f, const char *dir, const char *last, struct err *e)
{
    struct dirent **list;
    int n = scandir(dir, &list, NULL, alphasort), r = 0;
    if (n < 0)
        return err_sys(e, "%s: cannot list the folder", dir);
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        if (r == 0 && strcmp(name, ".") && strcmp(name, "..") && strcmp(name, last))
            r = move_up(f, dir, name, e);
        free(list[i]);
    }
    free(list);
    return r == 0 ? move_up(f, dir, last, e) : r;
}

int run_folder_finish(struct run_folder *f, run_write *write, void *arg, const char *last, struct err *e)
{
    char *path = file_join(f->out, ".finished.tmp-0"); /* a name that the next start removes */
    struct outdir *d = outdir_open(path, true, e);
    int r = d ? write(arg, outdir_path(d), e) : -1;
    if (r == 0)
        r = outdir_commit(d, e);
    else
        outdir_abort(d);
    if (r == 0)
        r = move_all(f, path, last, e);
    if (r == 0)
        r = outdir_remove(path, e);
    free(path);
    return r;
}

int run_folder_record(struct run_folder *f, const char *status, const char *run, int64_t step, int64_t total, struct err *e)
{
    json_t *files = json_array(), *j;
    for (int i = 0; i < f->n_files; i++)
        json_array_append_new(files, json_string(f->files[i]));
    j = json_pack("{s:s,s:i,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:o,s:o}", "format", "finetools-run", "version", 1, "tool", f->tool, "tool_version",
                  FINETOOLS_VERSION, "status", status, "started", f->started, "pid", (json_int_t)getpid(), "step", (json_int_t)step,
                  "total_steps", (json_int_t)total, "run", json_loads(run, 0, NULL), "files", files);
    char *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) : NULL, *path = file_join(f->out, RUN_RECORD);
    int r = -1;
    if (text) {
        char *line = mem_printf("%s\n", text);
        r = outfile_replace(path, line, strlen(line), e);
        free(line);
    } else {
        err_set(e, "%s: the record of the run is no JSON", path);
    }
    json_decref(j);
    free(text);
    free(path);
    return r;
}

void run_folder_forget(struct run_folder *f)
{
    struct err ignored = ERR_INIT;
    if (remove_named(f, "log.jsonl", &ignored) < 0 || remove_named(f, RUN_RECORD, &ignored) < 0) {
        /* what stays is a run at step 0, which the same command starts again */
    }
}
