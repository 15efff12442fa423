#include "cli/runlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/outfile.h"

enum { LONGEST_LOG = 1 << 30 };

struct runlog {
    int fd;
    char *path;
};

/* ---- an earlier log ---- */

struct line {
    const char *text; /* n bytes, with the end of the line when it has one */
    size_t n;
    bool ended;
    json_t *entry;    /* NULL: damaged or cut */
};

/* The line that begins at `at`; its entry is released by the caller. */
static struct line next_line(const struct buf *b, size_t at)
{
    const char *text = buf_str(b) + at, *end = memchr(text, '\n', b->len - at);
    struct line l = {text, end ? (size_t)(end - text) + 1 : b->len - at, end != NULL, NULL};
    l.entry = end ? json_loadb(text, l.n - 1, 0, NULL) : NULL;
    if (l.entry && !json_is_object(l.entry)) {
        json_decref(l.entry);
        l.entry = NULL;
    }
    return l;
}

static bool is_type(const json_t *entry, const char *type)
{
    const char *s = json_string_value(json_object_get(entry, "type"));
    return s && !strcmp(s, type);
}

/* -1: has none. */
static int64_t step_of(const json_t *entry)
{
    json_t *step = json_object_get(entry, "step");
    return json_is_integer(step) ? json_integer_value(step) : -1;
}

static bool is_stale(const json_t *entry, const struct runlog_resumed *r)
{
    return is_type(entry, "end") || (r->eval_again && is_type(entry, "eval") && step_of(entry) == r->step);
}

static void count_entry(struct runlog_kept *k, const json_t *entry)
{
    k->start |= is_type(entry, "start");
    if (is_type(entry, "step")) {
        k->step = step_of(entry);
        k->tokens = (int64_t)((uint64_t)k->tokens + (uint64_t)json_integer_value(json_object_get(entry, "tokens")));
    }
}

/* What a run that goes on keeps of `text`: runlog.h. A last line without an end is one that was being written. */
static void keep_lines(struct buf *to, const struct buf *text, const struct runlog_resumed *r, struct runlog_kept *k)
{
    int64_t number = 1;
    bool later = false;
    for (size_t at = 0; at < text->len && !later; number++) {
        struct line l = next_line(text, at);
        later = l.entry && step_of(l.entry) > r->step;
        if (!l.entry && l.ended && k->damaged++ == 0)
            k->first_damaged = number;
        if (l.entry && !later && !is_stale(l.entry, r)) {
            count_entry(k, l.entry);
            buf_add(to, l.text, l.n);
        }
        json_decref(l.entry);
        at += l.n;
    }
}

json_t *runlog_read_start(const char *path, struct err *e)
{
    struct buf text = BUF_INIT;
    json_t *start = NULL;
    int r = file_read(&text, path, LONGEST_LOG, e);
    for (size_t at = 0; r == 0 && at < text.len && !start;) {
        struct line l = next_line(&text, at);
        if (l.entry && is_type(l.entry, "start"))
            start = json_incref(l.entry);
        json_decref(l.entry);
        at += l.n;
    }
    buf_release(&text);
    return start;
}

static bool is_regular(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* The kept lines at `path`. Only a leading part is left by cutting; everything else appears by a rename. */
static int take_over(const char *path, const struct runlog_resumed *r, struct runlog_kept *k, struct err *e)
{
    struct buf text = BUF_INIT, kept = BUF_INIT;
    bool here = file_exists(path);
    const char *from = here ? path : r->earlier && is_regular(r->earlier) ? r->earlier : NULL;
    int code = from ? file_read(&text, from, LONGEST_LOG, e) : 0;
    if (code == 0) {
        keep_lines(&kept, &text, r, k);
        if (!here || (kept.len && memcmp(kept.data, text.data, kept.len)))
            code = outfile_replace(path, buf_str(&kept), kept.len, e);
        else if (kept.len < text.len && truncate(path, (off_t)kept.len) < 0)
            code = err_sys(e, "%s: cannot cut back to step %lld", path, (long long)r->step);
    }
    buf_release(&text);
    buf_release(&kept);
    return code;
}

/* The lines are elsewhere now: a copy that ends in the middle of the run would only mislead. */
static int remove_earlier(const struct runlog *l, const char *earlier, struct err *e)
{
    struct stat a, b;
    if (stat(earlier, &a) < 0 || fstat(l->fd, &b) < 0 || (a.st_dev == b.st_dev && a.st_ino == b.st_ino))
        return 0;
    return unlink(earlier) < 0 ? err_sys(e, "%s: cannot remove", earlier) : 0;
}

/* ---- opening and writing ---- */

static int prepare(struct runlog *l, bool standard, const struct runlog_resumed *r, struct runlog_kept *k, struct err *e)
{
    bool file = !standard && (is_regular(l->path) || !file_exists(l->path));
    *k = (struct runlog_kept){.file = file};
    if (file && r->step >= 0 && take_over(l->path, r, k, e) < 0)
        return -1;
    l->fd = standard ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0) : open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
    if (l->fd < 0)
        return file_create_failed(l->path, "cannot open the log", e);
    if (file && r->step < 0 && ftruncate(l->fd, 0) < 0)
        return err_sys(e, "%s: cannot empty the log", l->path);
    return file && r->earlier ? remove_earlier(l, r->earlier, e) : 0;
}

struct runlog *runlog_open(const char *path, const struct runlog_resumed *resumed, struct runlog_kept *kept, struct err *e)
{
    struct runlog *l = mem_alloc(sizeof *l);
    bool standard = !strcmp(path, "-");
    l->path = mem_strdup(standard ? "stdout" : path);
    l->fd = -1;
    if (prepare(l, standard, resumed, kept, e) == 0)
        return l;
    if (l->fd >= 0)
        close(l->fd);
    free(l->path);
    free(l);
    return NULL;
}

int runlog_add(struct runlog *l, json_t *entry, struct err *e)
{
    char *text = entry ? json_dumps(entry, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(entry);
    if (!text)
        return err_set(e, "%s: a log entry cannot be written as JSON", l->path);
    size_t len = strlen(text), done = 0;
    text = mem_realloc(text, len + 2);
    text[len++] = '\n';
    /* One write does it; what a full disk or a signal leaves over is retried, so the error is the real one. */
    while (done < len) {
        ssize_t r = write(l->fd, text + done, len - done);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            free(text);
            return err_sys(e, "%s: cannot write", l->path);
        }
        done += (size_t)r;
    }
    free(text);
    return 0;
}

int runlog_sync(struct runlog *l, struct err *e)
{
    return fsync(l->fd) < 0 && errno != EINVAL && errno != EROFS ? err_sys(e, "%s: cannot sync", l->path) : 0;
}

int runlog_close(struct runlog *l, struct err *e)
{
    if (!l)
        return 0;
    int r = runlog_sync(l, e);
    if (close(l->fd) < 0 && r == 0)
        r = err_sys(e, "%s: cannot close", l->path);
    free(l->path);
    free(l);
    return r;
}
