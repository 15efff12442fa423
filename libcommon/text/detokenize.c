#include "text/detokenize.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { CONTEXT = 8 }; /* tokens of the prompt that the first new ones are decoded with */

struct detokenizer {
    const struct tokenizer *t;
    const char *const *stops;
    int n_stops;
    uint32_t *ids;
    size_t n, cap;
    size_t before;    /* tokens at the front of ids whose text is out */
    struct buf old, now;
    struct buf held;  /* decoded, but it may be the beginning of a stop string */
};

struct detokenizer *detokenizer_new(const struct tokenizer *t, const char *const *stops, int n_stops)
{
    struct detokenizer *d = mem_zalloc(1, sizeof *d);
    d->t = t;
    d->stops = stops;
    d->n_stops = n_stops;
    return d;
}

void detokenizer_free(struct detokenizer *d)
{
    if (!d)
        return;
    free(d->ids);
    buf_release(&d->old);
    buf_release(&d->now);
    buf_release(&d->held);
    free(d);
}

int detokenizer_start(struct detokenizer *d, const uint32_t *prompt, size_t n, struct err *e)
{
    size_t keep = n < CONTEXT ? n : CONTEXT;
    d->ids = mem_grow(d->ids, &d->cap, keep + 1, sizeof *d->ids);
    if (keep)
        memcpy(d->ids, prompt + n - keep, keep * sizeof *d->ids);
    d->n = d->before = keep;
    buf_clear(&d->held);
    buf_clear(&d->old);
    return tokenizer_decode(d->t, d->ids, d->before, true, &d->old, e);
}

/* Moves from `held` to `text` all that cannot be part of a stop string any more; 1 when one is there whole. */
static int release(struct detokenizer *d, struct buf *text)
{
    size_t first = d->held.len, keep = 0;
    for (int i = 0; i < d->n_stops; i++) {
        const char *at = d->held.len ? memmem(d->held.data, d->held.len, d->stops[i], strlen(d->stops[i])) : NULL;
        if (at && (size_t)(at - d->held.data) < first)
            first = (size_t)(at - d->held.data);
    }
    if (first < d->held.len) {
        buf_add(text, d->held.data, first);
        buf_clear(&d->held);
        return 1;
    }
    for (int i = 0; i < d->n_stops; i++)
        for (size_t n = strlen(d->stops[i]); n > keep; n--)
            if (n <= d->held.len && !memcmp(d->held.data + d->held.len - n, d->stops[i], n))
                keep = n;
    buf_add(text, buf_str(&d->held), d->held.len - keep);
    if (keep)
        memmove(d->held.data, d->held.data + d->held.len - keep, keep);
    buf_set_len(&d->held, keep);
    return 0;
}

static bool ends_in_replacement(const struct buf *b)
{
    return b->len >= 3 && !memcmp(b->data + b->len - 3, "\xef\xbf\xbd", 3);
}

/* Decodes what is not out yet together with the tokens before it and takes the difference; a cut character shows as U+FFFD at the end
 * and waits for its other tokens, unless `last`. */
static int decode_new(struct detokenizer *d, bool last, struct err *e)
{
    buf_clear(&d->now);
    if (tokenizer_decode(d->t, d->ids, d->n, true, &d->now, e) < 0)
        return -1;
    if (d->now.len <= d->old.len || (!last && ends_in_replacement(&d->now)))
        return 0;
    buf_add(&d->held, d->now.data + d->old.len, d->now.len - d->old.len);
    size_t keep = d->n - d->before < CONTEXT ? d->n - d->before : CONTEXT;
    memmove(d->ids, d->ids + d->n - keep, keep * sizeof *d->ids);
    d->n = d->before = keep;
    buf_clear(&d->old);
    return tokenizer_decode(d->t, d->ids, d->n, true, &d->old, e);
}

int detokenizer_add(struct detokenizer *d, uint32_t id, struct buf *text, struct err *e)
{
    d->ids = mem_grow(d->ids, &d->cap, d->n + 1, sizeof *d->ids);
    d->ids[d->n++] = id;
    if (decode_new(d, false, e) < 0)
        return -1;
    return release(d, text);
}

int detokenizer_end(struct detokenizer *d, struct buf *text, struct err *e)
{
    if (decode_new(d, true, e) < 0)
        return -1;
    if (release(d, text))
        return 1;
    buf_add(text, buf_str(&d->held), d->held.len);
    buf_clear(&d->held);
    return 0;
}
