#include "text/chat_convert.h"

#include <stdlib.h>

#include "base/mem.h"

/* Large batches: threads that wait for the next one burn time that the program at the other end of the pipe could use. */
enum { BATCH_RECORDS = 2048, BATCH_BYTES = 4 << 20 };

struct item {
    struct record record;
    size_t at;         /* of the record's text in the batch */
    bool unreadable;   /* `err` came from the reader */
    int status;
    struct err err;
    struct buf line;
};

struct chat_convert {
    struct chat_job job;
    const struct chat_convert_sink *sink;
    bool settled;
    int n, most;
    struct buf text;
    int64_t records;
    struct item items[BATCH_RECORDS];
};

struct chat_convert *chat_convert_new(const struct chat_job *job, const struct chat_convert_sink *sink, int64_t most)
{
    struct chat_convert *c = mem_zalloc(1, sizeof *c);
    c->job = *job;
    c->sink = sink;
    c->most = most > 0 && most < BATCH_RECORDS ? (int)most : BATCH_RECORDS;
    return c;
}

void chat_convert_free(struct chat_convert *c)
{
    if (!c)
        return;
    for (int i = 0; i < BATCH_RECORDS; i++)
        buf_release(&c->items[i].line);
    buf_release(&c->text);
    free(c);
}

int64_t chat_convert_records(const struct chat_convert *c)
{
    return c->records;
}

bool chat_convert_settled(const struct chat_convert *c)
{
    return c->settled;
}

/* The first good record decides. */
static int settle(struct chat_convert *c, struct err *e)
{
    for (int i = 0; i < c->n; i++) {
        struct err ignored = ERR_INIT;
        const struct item *it = &c->items[i];
        bool raw;
        if (it->unreadable || chat_job_look(&c->job, &it->record, &raw, &c->job.kind, &ignored) < 0)
            continue;
        c->settled = true;
        return c->sink->settle(c->sink->arg, it->record.file, raw, c->job.kind, &c->job.template, e);
    }
    return 0;
}

static void render(struct chat_convert *c)
{
#pragma omp parallel for schedule(dynamic, 4)
    for (int i = 0; i < c->n; i++) {
        struct item *it = &c->items[i];
        enum chat_stream_kind kind;
        bool raw;
        buf_clear(&it->line);
        if (!it->unreadable && !c->settled) /* no record of this batch is good: this says why */
            it->status = chat_job_look(&c->job, &it->record, &raw, &kind, &it->err);
        else if (!it->unreadable)
            it->status = chat_job_run(&c->job, &it->record, &it->line, &it->err);
    }
}

static int run_batch(struct chat_convert *c, struct err *e)
{
    int result = 0;
    for (int i = 0; i < c->n; i++)
        c->items[i].record.text = buf_str(&c->text) + c->items[i].at; /* the buffer may have moved while it grew */
    if (!c->settled)
        result = settle(c, e);
    if (result == 0)
        render(c);
    for (int i = 0; i < c->n && result == 0; i++) {
        struct item *it = &c->items[i];
        c->records++;
        result = it->unreadable || it->status < 0 ? c->sink->bad(c->sink->arg, &it->err, e) : c->sink->line(c->sink->arg, &it->line, e);
    }
    c->n = 0;
    buf_clear(&c->text);
    return result;
}

static void add(struct chat_convert *c, const struct record *r, bool unreadable)
{
    struct item *it = &c->items[c->n++];
    it->unreadable = unreadable;
    it->record = *r;
    it->at = c->text.len;
    if (!unreadable)
        buf_add(&c->text, r->text, r->len);
}

static int convert(struct chat_convert *c, struct records *s, struct err *e)
{
    struct record record;
    for (;;) {
        struct err *err = &c->items[c->n].err;
        err->set = false;
        int k = records_next(s, &record, err), result = 0;
        if (k == 1 || k == RECORDS_BAD) {
            add(c, &record, k == RECORDS_BAD);
            if (c->n == c->most || c->text.len >= BATCH_BYTES)
                result = run_batch(c, e);
            if (result)
                return result;
            continue;
        }
        struct err fatal = *err;
        result = run_batch(c, e); /* what came before is judged first */
        return result ? result : k == 0 ? 0 : err_set(e, "%s", fatal.text);
    }
}

int chat_convert_file(struct chat_convert *c, const char *path, int64_t from, int64_t to, char hash[SHA256_HEX], struct err *e)
{
    struct records *s = records_open(path, e);
    if (!s)
        return -1;
    records_select(s, from, to);
    int result = convert(c, s, e);
    records_hash(s, hash);
    records_close(s);
    return result;
}
