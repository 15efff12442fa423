/* OUT/run.json: reading, and comparing two runs. Writing is in run_folder.c. */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "train/run_folder.h"

#define RECORD_LIMIT (16u << 20)

/* The lock, temporaries of a killed process, and a reference that was finished before the run began, do not make a folder somebody else's. */
static bool is_leftover(const char *name)
{
    return !strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, ".lock") || !strcmp(name, "ref-logprobs") || !strcmp(name, "eval-ref-logprobs") ||
           fnmatch(".*.tmp-*", name, 0) == 0;
}

/* 1: holds something. */
static int holds_anything(const char *out, struct err *e)
{
    DIR *d = opendir(out);
    if (!d)
        return err_sys(e, "%s: cannot list the folder", out);
    int r = 0;
    for (struct dirent *x; r == 0 && (x = readdir(d));)
        r = !is_leftover(x->d_name);
    closedir(d);
    return r;
}

static char *text_of(json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return mem_strdup(s ? s : "");
}

static int parse(struct run_record *r, const struct buf *text, const char *path, struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(buf_str(text), text->len, JSON_REJECT_DUPLICATES, &je);
    if (!j)
        return err_set(e, "%s: is damaged in line %d: %s; delete it and the run goes on from its newest checkpoint, or --force begins anew", path,
                       je.line, je.text);
    const char *format = json_string_value(json_object_get(j, "format"));
    json_t *run = json_object_get(j, "run"), *files = json_object_get(j, "files"), *name;
    size_t i;
    if (!format || strcmp(format, "finetools-run") || json_integer_value(json_object_get(j, "version")) != 1 || !json_is_object(run)) {
        json_decref(j);
        return err_set(e, "%s: is not the record of a run of ours (version 1)", path);
    }
    r->tool = text_of(j, "tool");
    r->status = text_of(j, "status");
    char *dump = json_dumps(run, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    r->run = mem_strdup(dump ? dump : "{}");
    free(dump);
    r->files = mem_zalloc(json_array_size(files) + 1, sizeof *r->files);
    json_array_foreach(files, i, name)
        if (json_is_string(name) && !strchr(json_string_value(name), '/'))
            r->files[r->n_files++] = mem_strdup(json_string_value(name));
    json_decref(j);
    return 1;
}

/* What the newest checkpoint says the run is, when run.json was lost. 0: there is none of ours. */
static int read_newest_checkpoint(struct run_record *r, const char *out)
{
    struct dirent **list;
    int n = scandir(out, &list, NULL, alphasort);
    int64_t newest = -1;
    for (int i = 0; i < n; i++) {
        struct err ignored = ERR_INIT; /* what is no checkpoint is no evidence */
        struct checkpoint_state s = {0};
        char *path = file_join(out, list[i]->d_name);
        if (fnmatch("checkpoint-[0-9]*", list[i]->d_name, 0) == 0 && checkpoint_read(&s, path, &ignored) == 0 && s.step > newest) {
            newest = s.step;
            run_record_release(r);
            r->tool = mem_strdup(s.tool);
            r->status = mem_strdup("running");
            r->run = mem_strdup(s.run);
        }
        checkpoint_state_release(&s);
        free(path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return newest >= 0;
}

int run_record_read(struct run_record *r, const char *out, struct err *e)
{
    *r = (struct run_record){0};
    if (!file_exists(out))
        return 0;
    if (!file_is_dir(out))
        return err_set(e, "%s: exists and is not a folder", out);
    char *path = file_join(out, RUN_RECORD);
    struct buf text = BUF_INIT;
    int result;
    if (file_exists(path)) {
        result = file_read(&text, path, RECORD_LIMIT, e) == 0 ? parse(r, &text, path, e) : -1;
    } else {
        result = holds_anything(out, e);
        if (result == 1 && !read_newest_checkpoint(r, out))
            result = err_set(e, "%s: exists already and is not a run of ours; --force replaces it", out);
    }
    buf_release(&text);
    free(path);
    return result;
}

void run_record_release(struct run_record *r)
{
    for (int i = 0; i < r->n_files; i++)
        free(r->files[i]);
    free(r->files);
    free(r->tool);
    free(r->status);
    free(r->run);
    *r = (struct run_record){0};
}

const char *run_record_missing(const struct run_record *r, const char *out)
{
    const char *missing = NULL;
    for (int i = 0; i < r->n_files && !missing; i++) {
        char *path = file_join(out, r->files[i]);
        missing = file_exists(path) ? NULL : r->files[i];
        free(path);
    }
    return missing;
}

bool run_record_is_whole(const struct run_record *r, const char *out)
{
    return !strcmp(r->status, "complete") && r->n_files > 0 && !run_record_missing(r, out);
}

/* ---- differences ---- */

static void add_value(struct buf *b, json_t *v)
{
    char *s = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (json_is_string(v))
        buf_printf(b, "%.24s%s", json_string_value(v), strlen(json_string_value(v)) > 24 ? "..." : "");
    else
        buf_add_str(b, s && !json_is_null(v) ? s : "none");
    free(s);
}

static void compare(struct buf *b, json_t *before, json_t *now)
{
    const char *key;
    json_t *v;
    json_object_foreach(now, key, v) {
        json_t *w = json_object_get(before, key);
        if (json_is_object(v) && json_is_object(w)) {
            compare(b, w, v);
        } else if (!w || !json_equal(v, w)) {
            buf_printf(b, "%s%s: ", b->len ? "; " : "", key);
            add_value(b, w);
            buf_add_str(b, ", now ");
            add_value(b, v);
        }
    }
    json_object_foreach(before, key, v)
        if (!json_object_get(now, key)) {
            buf_printf(b, "%s%s: ", b->len ? "; " : "", key);
            add_value(b, v);
            buf_add_str(b, ", now none");
        }
}

char *run_differences(const char *before, const char *now)
{
    json_t *x = json_loads(before, 0, NULL), *y = json_loads(now, 0, NULL);
    struct buf b = BUF_INIT;
    compare(&b, x, y);
    json_decref(x);
    json_decref(y);
    if (b.len)
        return buf_detach(&b);
    buf_release(&b);
    return NULL;
}
