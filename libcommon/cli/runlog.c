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

enum { LONGEST_LOG = 1 << 30 };

struct runlog {
    int fd;
    char *path;
};

/* The bytes of `text` that a run resumed at `step` keeps: runlog.h. */
static size_t kept_length(const char *text, size_t len, int64_t step)
{
    size_t kept = 0;
    bool stepped = false;
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        json_t *entry = end ? json_loadb(text + at, (size_t)(end - text) - at, 0, NULL) : NULL;
        json_t *number = entry ? json_object_get(entry, "step") : NULL;
        bool whole = json_is_object(entry), has_step = json_is_integer(number);
        int64_t here = has_step ? json_integer_value(number) : 0;
        json_decref(entry);
        if (!whole || (has_step && here > step))
            break;
        at = (size_t)(end - text) + 1;
        stepped |= has_step;
        if (has_step || !stepped)
            kept = at;
    }
    return kept;
}

static int cut_back(struct runlog *l, int64_t step, struct err *e)
{
    struct buf b = BUF_INIT;
    int r = file_read(&b, l->path, LONGEST_LOG, e);
    if (r == 0 && ftruncate(l->fd, (off_t)kept_length(buf_str(&b), b.len, step)) < 0)
        r = err_sys(e, "%s: cannot cut back to step %lld", l->path, (long long)step);
    buf_release(&b);
    return r;
}

struct runlog *runlog_open(const char *path, int64_t resumed_step, struct err *e)
{
    struct runlog *l = mem_alloc(sizeof *l);
    struct stat st;
    bool standard = !strcmp(path, "-");
    l->path = mem_strdup(standard ? "stdout" : path);
    l->fd = standard ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
    if (l->fd < 0 || fstat(l->fd, &st) < 0) {
        file_create_failed(path, "cannot open the log", e);
        goto fail;
    }
    if (S_ISREG(st.st_mode) && !standard) {
        if (resumed_step >= 0 && cut_back(l, resumed_step, e) < 0)
            goto fail;
        if (resumed_step < 0 && ftruncate(l->fd, 0) < 0) {
            err_sys(e, "%s: cannot empty the log", path);
            goto fail;
        }
    }
    return l;
fail:
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
