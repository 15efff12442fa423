#include "text/chat_encode.h"

#include <jansson.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/threads.h"
#include "text/answer_tokens.h"

/* Large batches: threads that wait for the next one burn time that the program at the other end of the pipe could use. Three of them: one
 * is encoded by all threads, while the first thread hands out the one before and reads the one behind. */
enum { BATCH_SAMPLES = 1024, BATCH_BYTES = 2 << 20, BATCHES = 3 };

struct item {
    size_t at, len;      /* of the line in the batch */
    int64_t line;
    int status;
    bool parsed;
    struct err err;
    struct chat_sample sample;
    struct sample_tokens tokens;
};

struct batch {
    struct item items[BATCH_SAMPLES];
    int n;
    struct buf lines;
};

struct chat_encode {
    const struct tokenizer *tokenizer;
    struct chat_encode_options o;
    struct chat_encode_sink sink;
    struct chat_encode_counts counts;
    json_t *strange_ends;           /* ends of turns that are no single token here */
    const char *stream;
    enum chat_stream_kind kind;
    struct batch batches[BATCHES];
    int n_scratch;
    struct sample_scratch *scratch; /* one per thread */
    struct sample_tokens piece;
};

struct chat_encode *chat_encode_new(const struct tokenizer *t, const struct chat_encode_options *o, const struct chat_encode_sink *sink)
{
    struct chat_encode *c = mem_zalloc(1, sizeof *c);
    c->tokenizer = t;
    c->o = *o;
    c->sink = *sink;
    c->n_scratch = threads_count();
    c->scratch = mem_zalloc((size_t)c->n_scratch, sizeof *c->scratch);
    return c;
}

void chat_encode_free(struct chat_encode *c)
{
    if (!c)
        return;
    for (struct batch *b = c->batches; b < c->batches + BATCHES; b++) {
        for (int i = 0; i < BATCH_SAMPLES; i++) {
            chat_sample_release(&b->items[i].sample);
            sample_tokens_release(&b->items[i].tokens);
        }
        buf_release(&b->lines);
    }
    for (int i = 0; i < c->n_scratch; i++)
        sample_scratch_release(&c->scratch[i]);
    sample_tokens_release(&c->piece);
    json_decref(c->strange_ends);
    free(c->scratch);
    free(c);
}

const struct chat_encode_counts *chat_encode_counts(const struct chat_encode *c)
{
    return &c->counts;
}

/* ---- ends of turns ---- */

static bool is_token(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_list l = {0};
    struct err ignored = ERR_INIT;
    bool one = tokenizer_encode(t, text, len, NULL, 0, false, &l, &ignored) == 0 && l.n && l.start[l.n - 1] == 0 && l.end[l.n - 1] == len;
    token_list_release(&l);
    return one;
}

void chat_encode_begin(struct chat_encode *c, const struct chat_stream_header *h)
{
    json_t *ends = h->turn_ends ? json_loads(h->turn_ends, JSON_DECODE_ANY, NULL) : NULL, *end;
    size_t i;
    c->kind = h->kind;
    json_decref(c->strange_ends);
    c->strange_ends = json_array();
    json_array_foreach(ends, i, end)
        if (json_string_length(end) && !is_token(c->tokenizer, json_string_value(end), json_string_length(end)))
            json_array_append(c->strange_ends, end);
    json_decref(ends);
}

/* A model that learns the end of its turn as plain text never stops. */
static int check_ends(const struct chat_encode *c, const struct chat_sample *s, struct err *e)
{
    size_t k;
    const json_t *end;
    for (size_t i = 0; i < s->n_parts && json_array_size(c->strange_ends); i++) {
        const struct chat_part *p = &s->parts[i];
        json_array_foreach(c->strange_ends, k, end) {
            size_t n = json_string_length(end);
            if (p->train && !p->data && n <= p->end - p->start && !memcmp(s->text.data + p->end - n, json_string_value(end), n))
                return err_set(e, "a trained turn ends with \"%s\", which is no token of this tokenizer (give fmt-chat -m DIR too, or another template)",
                               json_string_value(end));
        }
    }
    return 0;
}

/* ---- handing out ---- */

static int sample_error(const struct chat_encode *c, const struct item *it, const char *what, struct err *e)
{
    if (it->parsed)
        return err_set(e, "%s: record %lld: %s", buf_str(&it->sample.source), (long long)it->sample.record, what);
    return err_set(e, "%s: line %lld: %s", c->stream, (long long)it->line, what);
}

static size_t length(const struct chat_encode *c, const struct sample_tokens *t)
{
    return c->kind == CHAT_SAMPLES ? t->n : answer_tokens_length(t);
}

static int put(struct chat_encode *c, const struct sample_tokens *t, struct err *e)
{
    if (c->sink.tokens(c->sink.arg, t, e) < 0)
        return -1;
    c->counts.written++;
    c->counts.tokens += (int64_t)t->n;
    c->counts.trained += (int64_t)t->trained;
    return 0;
}

static int put_pieces(struct chat_encode *c, const struct item *it, struct err *e)
{
    size_t most = (size_t)c->o.max_length, n = sample_tokens_pieces(it->tokens.n, most);
    c->counts.split++;
    for (size_t k = 0; k < n; k++) {
        sample_tokens_piece(&it->tokens, most, k, &c->piece);
        if (!c->piece.trained) {
            c->counts.lost++;
            continue;
        }
        if (put(c, &c->piece, e) < 0)
            return -1;
        c->counts.pieces++;
    }
    return 0;
}

/* Of answers an end may be all that differs, or all that there is: data is full of these, so they are counted. */
static int put_truncated_answers(struct chat_encode *c, const struct item *it, struct err *e)
{
    if (answer_tokens_cut(&it->tokens, (size_t)c->o.max_length, &c->piece)) {
        c->counts.truncated++;
        return put(c, &c->piece, e);
    }
    c->counts.unanswered++;
    c->sink.dropped(c->sink.arg, buf_str(&it->sample.source), it->sample.record, length(c, &it->tokens));
    return 0;
}

static int put_truncated(struct chat_encode *c, const struct item *it, struct err *e)
{
    char text[200];
    sample_tokens_piece(&it->tokens, (size_t)c->o.max_length, 0, &c->piece);
    if (!c->piece.trained) {
        snprintf(text, sizeof text, "nothing to train is left of its %zu tokens when truncated to %lld", it->tokens.n, (long long)c->o.max_length);
        return sample_error(c, it, text, e);
    }
    c->counts.truncated++;
    return put(c, &c->piece, e);
}

static int put_overlong(struct chat_encode *c, const struct item *it, struct err *e)
{
    char text[200];
    switch (c->o.overlong) {
    case CHAT_OVERLONG_TRUNCATE:
        return c->kind == CHAT_SAMPLES ? put_truncated(c, it, e) : put_truncated_answers(c, it, e);
    case CHAT_OVERLONG_SPLIT:
        return put_pieces(c, it, e);
    case CHAT_OVERLONG_DROP:
        c->counts.dropped++;
        c->sink.dropped(c->sink.arg, buf_str(&it->sample.source), it->sample.record, length(c, &it->tokens));
        return 0;
    case CHAT_OVERLONG_ERROR:
        break;
    }
    snprintf(text, sizeof text, "%zu tokens%s, at most %lld fit (--max-length; --overlong truncate%s takes longer ones)", length(c, &it->tokens),
             c->kind == CHAT_PAIRS ? " with the longer answer" : "", (long long)c->o.max_length, c->kind == CHAT_SAMPLES ? ", drop or split" : " or drop");
    return sample_error(c, it, text, e);
}

/* ---- batches ---- */

/* 1: there is more, 0: the end of the stream, -1: an error. */
static int read_batch(struct batch *b, struct chat_stream *s, struct err *e)
{
    const char *line;
    while (b->n < BATCH_SAMPLES && b->lines.len < BATCH_BYTES) {
        struct item *it = &b->items[b->n];
        int k = chat_stream_next(s, &line, &it->len, &it->line, e);
        if (k != 1)
            return k;
        it->at = b->lines.len;
        buf_add(&b->lines, line, it->len);
        b->n++;
    }
    return 1;
}

static void encode(const struct chat_encode *c, const struct batch *b, struct item *it)
{
    it->err.set = false;
    it->parsed = chat_sample_parse(buf_str(&b->lines) + it->at, it->len, c->kind, &it->sample, &it->err) == 0;
    it->status = it->parsed ? check_ends(c, &it->sample, &it->err) : -1;
    if (it->status == 0)
        it->status = (c->kind == CHAT_SAMPLES ? sample_tokens_encode : answer_tokens_encode)(c->tokenizer, &it->sample, &c->o.how,
                                                                                            &c->scratch[omp_get_thread_num()], &it->tokens, &it->err);
}

static int put_batch(struct chat_encode *c, struct batch *b, struct err *e)
{
    int r = 0;
    for (int i = 0; i < b->n && r == 0; i++) {
        struct item *it = &b->items[i];
        if (it->status < 0)
            return sample_error(c, it, it->err.text, e);
        c->counts.samples++;
        c->counts.bytes += (int64_t)it->sample.text.len;
        bool overlong = c->o.max_length && length(c, &it->tokens) > (size_t)c->o.max_length;
        r = overlong ? put_overlong(c, it, e) : put(c, &it->tokens, e);
    }
    c->sink.progress(c->sink.arg, &c->counts);
    b->n = 0;
    buf_clear(&b->lines);
    return r;
}

int chat_encode_stream(struct chat_encode *c, struct chat_stream *s, struct err *e)
{
    struct err bad = ERR_INIT;
    struct batch *done = &c->batches[0], *now = &c->batches[1], *next = &c->batches[2]; /* all empty */
    int more = read_batch(now, s, &bad), r = 0;
    c->stream = chat_stream_name(s);
    while (r == 0 && (done->n || now->n)) { /* what came before an error is judged first */
#pragma omp parallel num_threads(c->n_scratch)
        {
#pragma omp master
            {
                r = done->n ? put_batch(c, done, e) : 0;
                more = r == 0 && more == 1 ? read_batch(next, s, &bad) : more;
            }
#pragma omp for schedule(dynamic, 4)
            for (int i = 0; i < now->n; i++)
                encode(c, now, &now->items[i]);
        }
        struct batch *free_one = done;
        done = now, now = next, next = free_one;
    }
    if (r < 0)
        return -1;
    if (more < 0)
        return err_set(e, "%s", bad.text);
    c->counts.skipped += chat_stream_skipped(s);
    return 0;
}
