/* Attention: which way it is computed, and the lists of tiles that all ways work through. */
#include "kernels/cuda/attention_tile.h"

#include <stdlib.h>

/* ---- work lists ---- */

struct tile {
    struct attention_work work;
    int64_t cost; /* pairs of rows and keys, about */
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t cost_of(const struct attention *a, const struct attention_seq *s, int64_t first, int each, bool keys)
{
    int64_t behind = s->k_len - s->q_len;
    if (keys) {
        int64_t rows = least(s->q_len, s->k_len - first);
        return a->window > 0 ? least(rows, a->window + each) : rows;
    }
    struct attention_span span = attention_span_of(s, a->window, least(behind + first + each, s->k_len) - 1);
    return span.high - span.low + 1 - (span.gap_end - span.gap);
}

static int heavier(const void *x, const void *y)
{
    const struct tile *a = (const struct tile *)x, *b = (const struct tile *)y;
    if (a->cost != b->cost)
        return a->cost > b->cost ? -1 : 1;
    if (a->work.seq != b->work.seq)
        return a->work.seq < b->work.seq ? -1 : 1;
    return a->work.first < b->work.first ? -1 : a->work.first > b->work.first;
}

static int64_t length_of(const struct attention_seq *s, bool keys)
{
    return keys ? s->k_len : s->q_len;
}

bool attention_begin(struct attention_args *to, const struct attention *a)
{
    *to = {a->q, a->dout, a->out, a->out, a->lse, a->dq, NULL, NULL, NULL, a->q_stride, a->kv_stride, a->out_stride, a->window, a->heads, a->kv_heads,
           a->head_dim, a->scale, a->softcap};
    if (!a->n_seq)
        return false;
    to->seq = (const struct attention_seq *)cuda_upload(a->seq, (size_t)a->n_seq * sizeof *a->seq);
    return to->seq != NULL;
}

bool attention_tiles(struct attention_args *to, const struct attention *a, int each, bool keys, unsigned *tiles)
{
    int64_t count = 0, n = 0, before = 0;
    for (int i = 0; i < a->n_seq; i++)
        count += (length_of(&a->seq[i], keys) + each - 1) / each;
    *tiles = (unsigned)count;
    if (!count)
        return true;
    struct tile *list = (struct tile *)malloc((size_t)count * sizeof *list);
    struct attention_work *work = (struct attention_work *)malloc((size_t)count * sizeof *work);
    if (list && work) {
        for (int i = 0; i < a->n_seq; before += a->seq[i++].k_len)
            for (int64_t at = 0; at < length_of(&a->seq[i], keys); at += each)
                list[n++] = {{i, (int32_t)at, before}, cost_of(a, &a->seq[i], at, each, keys)};
        qsort(list, (size_t)n, sizeof *list, heavier);
        for (int64_t i = 0; i < n; i++)
            work[i] = list[i].work;
        to->work = (const struct attention_work *)cuda_upload(work, (size_t)n * sizeof *work);
    } else {
        cuda_failed("cannot get memory for %lld tiles of attention", (long long)count);
    }
    free(list);
    free(work);
    return to->work != NULL;
}

int64_t attention_rows(const struct attention *a)
{
    int64_t rows = 0;
    for (int i = 0; i < a->n_seq; i++)
        if (a->seq[i].q_len && a->seq[i].q_row + a->seq[i].q_len > rows)
            rows = a->seq[i].q_row + a->seq[i].q_len;
    return rows;
}

/* ---- entries ---- */

static bool can(const struct attention *a)
{
    if (a->head_dim > ATTENTION_MOST_DIM)
        cuda_failed("attention: heads of %d elements, expected at most %d", a->head_dim, ATTENTION_MOST_DIM);
    return a->head_dim <= ATTENTION_MOST_DIM;
}

/* Maxima of scores are found before they are scaled. */
static bool rounds(const struct attention *a)
{
    return a->round_bf16 && a->scale > 0;
}

/* Samples in the order of the call: first those of few rows behind other keys. */
static void attention(const struct attention *a)
{
    struct attention_seq *list = can(a) ? (struct attention_seq *)malloc((size_t)a->n_seq * sizeof *list + 1) : NULL;
    struct attention few = *a, many = *a;
    few.n_seq = many.n_seq = 0;
    if (!list) {
        cuda_failed("attention: cannot get memory for %d samples", a->n_seq); /* an error before this one stays */
        return;
    }
    for (int pass = 0; pass < 2; pass++) {
        struct attention *to = pass ? &many : &few;
        to->seq = list + (pass ? few.n_seq : 0);
        for (int i = 0; i < a->n_seq; i++)
            if ((a->seq[i].q_len <= ATTENTION_FEW_ROWS && a->seq[i].q_len < a->seq[i].k_len) == !pass)
                ((struct attention_seq *)to->seq)[to->n_seq++] = a->seq[i];
    }
    attention_few(&few);
    if (rounds(a))
        attention_bf16(&many);
    else
        attention_f32(&many);
    free(list);
}

static void attention_backward(const struct attention *a)
{
    if (!can(a))
        return;
    if (rounds(a))
        attention_bf16_backward(a);
    else
        attention_f32_backward(a);
}

static size_t scratch_bytes(int heads, int kv_heads, int head_dim, int64_t rows)
{
    size_t delta = (size_t)(rows * heads) * sizeof(float), rounded = attention_bf16_scratch(heads, kv_heads, head_dim, rows);
    return delta > rounded ? delta : rounded;
}

void cuda_fill_attention(struct kernels *k)
{
    k->attention = attention;
    k->attention_backward = attention_backward;
    k->scratch_bytes = scratch_bytes;
}
