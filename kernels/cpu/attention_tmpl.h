/* Attention, forward: online softmax over blocks of queries and keys (Dao, "FlashAttention-2", 2023), each block product in the
 * register tile. A block of queries is some positions times all heads that share a key/value head, position by position, so
 * a key block is packed once for the group. Key blocks start at multiples of ATTEND_KEYS from the sample's first key and masked
 * scores add exact zeros: a row's bits depend on its own sample alone. */
#ifndef KERNELS_CPU_ATTENTION_TMPL_H
#define KERNELS_CPU_ATTENTION_TMPL_H

#define ATTEND_KEYS (TILE_ROWS * TILE_COLS / (VL > 8 ? VL / 8 : 1)) /* a multiple of both sides of the tile: 96 or 224 */
#define ATTEND_ROWS (96 / TILE_ROWS * TILE_ROWS)                    /* rows of a query block, about; and of a large one: each packs the */
#define ATTEND_ROWS_LARGE (4 * ATTEND_ROWS)                         /* keys that it sees */
#define SPLIT_QUERIES 4                                             /* decoding: at most so many queries ... */
#define SPLIT_KEYS ATTEND_KEYS                                      /* ... over more keys than this are cut along the keys */
#define SPLIT_PARTS 32

/* Sizes that follow from the shape of the heads. */
struct attend_shape {
    int group, dim, width; /* query heads of one key/value head; D; D padded to TILE_COLS */
    int queries, rows;     /* of a query block; rows padded to TILE_ROWS */
};

static struct attend_shape attend_shape_of(int heads, int kv_heads, int dim, int rows)
{
    struct attend_shape s = {.group = heads / kv_heads, .dim = dim};
    s.width = (dim + TILE_COLS - 1) / TILE_COLS * TILE_COLS;
    s.queries = s.group < rows ? rows / s.group : 1;
    s.rows = (s.queries * s.group + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    return s;
}

/* One block of queries of one sample and key/value head, and the scratch of the thread that works on it. */
struct attend {
    const struct attention *a;
    const struct attention_seq *seq;
    struct attend_shape shape;
    int head;                  /* key/value head */
    int64_t query;             /* first query row within the sample */
    int n_rows;                /* rows in use: queries * group; row r is query r / group of head r % group */
    float *q, *out;            /* (rows, width) */
    float *score;              /* (rows, ATTEND_KEYS) */
    float *keys, *values;      /* transposed panels (ATTEND_KEYS / TILE_COLS, dim, TILE_COLS); (ATTEND_KEYS, width) */
    float *top, *sum;          /* (rows): running maximum and sum of exponentials */
};

static size_t attend_scratch(const struct attend_shape *s)
{
    return (size_t)s->rows * (size_t)(2 * s->width + ATTEND_KEYS + 2) + (size_t)ATTEND_KEYS * (size_t)(s->dim + s->width);
}

static void attend_place(struct attend *w, float *p)
{
    const struct attend_shape *s = &w->shape;
    w->q = p, p += s->rows * s->width;
    w->out = p, p += s->rows * s->width;
    w->score = p, p += s->rows * ATTEND_KEYS;
    w->values = p, p += ATTEND_KEYS * s->width;
    w->top = p, p += s->rows;
    w->sum = p, p += s->rows;
    w->keys = p;
}

/* The key that row r itself is, counted from the sample's first. */
VEC int64_t attend_position(const struct attend *w, int r)
{
    return w->seq->k_len - w->seq->q_len + w->query + r / w->shape.group;
}

/* The first key that the row of key `at` sees. Behind a fork a window goes on over the keys before the fork. */
VEC int64_t attend_first_key(const struct attend *w, int64_t at)
{
    const struct attention_seq *s = w->seq;
    int64_t hidden = at >= s->fork_end ? s->fork_end - s->fork_at : 0, first = at - hidden - w->a->window + 1;
    if (w->a->window <= 0 || first <= 0)
        return 0;
    return first < s->fork_at ? first : first + hidden;
}

/* Rows in use, padded to whole tiles. */
VEC int attend_rows(const struct attend *w) { return (w->n_rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS; }

/* Rows (n_rows, dim) of a (N, H, D) matrix to a dense (rows, width) one, padded with zeros. */
static void attend_gather(float *to, const struct attend *w, const float *from, int64_t stride)
{
    const struct attend_shape *s = &w->shape;
    memset(to, 0, (size_t)(attend_rows(w) * s->width) * sizeof *to);
    for (int r = 0; r < w->n_rows; r++) {
        int64_t row = w->seq->q_row + w->query + r / s->group, head = w->head * s->group + r % s->group;
        memcpy(to + r * s->width, from + row * stride + head * s->dim, (size_t)s->dim * sizeof *to);
    }
}

/* Key (or value) rows first .. first + count - 1 as transposed panels: the B side of scores. */
static void attend_pack(float *to, const struct attend *w, const float *from, int64_t first, int count)
{
    int64_t stride = w->a->kv_stride, dim = w->shape.dim;
    for (int i = 0; i < count; i += TILE_COLS) {
        const float *p = from + (first + i) * stride + w->head * dim;
        struct strip s = {(const char *)p, stride, 1, count - i < TILE_COLS ? count - i : TILE_COLS, dim};
        pack_panel(to + i * dim, TILE_COLS, &s, LOAD_F32);
    }
}

/* The same rows as they are, padded to `width`. */
static void attend_copy(float *to, const struct attend *w, const float *from, int64_t first, int count)
{
    int dim = w->shape.dim, width = w->shape.width;
    for (int i = 0; i < count; i++) {
        memcpy(to + i * width, from + (first + i) * w->a->kv_stride + w->head * dim, (size_t)dim * sizeof *to);
        memset(to + i * width + dim, 0, (size_t)(width - dim) * sizeof *to);
    }
}

/* How many of the `count` keys from `first` on the rows up to `last` can see. */
VEC int attend_reach(const struct attend *w, int last, int64_t first, int count)
{
    int64_t reach = attend_position(w, last < w->n_rows ? last : w->n_rows - 1) + 1 - first;
    return reach < 0 ? 0 : reach < count ? (int)reach : count;
}

/* (rows, ATTEND_KEYS): rows TILE_ROWS from r on, the first `reach` keys rounded up to panels, of alpha * x . panels. */
VEC void attend_products(float *to, const struct attend *w, int r, int reach, const float *x, const float *panels, float alpha)
{
    const struct attend_shape *s = &w->shape;
    struct tile t;
    for (int k = 0; k < reach; k += TILE_COLS) {
        tile_product(&t, s->dim, x + r * s->width, s->width, 1, panels + k * s->dim, TILE_COLS);
        tile_write(&t, to + r * ATTEND_KEYS + k, ATTEND_KEYS, TILE_ROWS, TILE_COLS, alpha, false);
    }
}

/* The visible part of a row of scores whose first key is `first`: *lo .. *hi - 1. */
VEC void attend_visible(const struct attend *w, int r, int64_t first, int count, int *lo, int *hi)
{
    int64_t start = attend_first_key(w, attend_position(w, r)) - first;
    *lo = start < 0 ? 0 : start < count ? (int)start : count;
    *hi = attend_reach(w, r, first, count);
}

/* The keys that the fork hides from row r, within lo .. hi - 1: from .. to - 1. */
VEC void attend_hidden(const struct attend *w, int r, int64_t first, int lo, int hi, int *from, int *to)
{
    const struct attention_seq *s = w->seq;
    *from = *to = lo;
    if (s->fork_at - first >= hi || s->fork_end - first <= lo || attend_position(w, r) < s->fork_end)
        return;
    *from = s->fork_at - first > lo ? (int)(s->fork_at - first) : lo;
    *to = s->fork_end - first < hi ? (int)(s->fork_end - first) : hi;
}

/* c * tanh(x / c) over n floats, n a multiple of VL. */
VEC void attend_cap(float *x, int n, float c)
{
    for (int i = 0; i < n; i += VL)
        v_store(x + i, v_mul(v_set(c), v_tanh(v_div(v_load(x + i), v_set(c)))));
}

/* Scores of row r (the first `n` are there) become exp(score - top), the row's output and sum are brought to the new maximum. */
static void attend_softmax(struct attend *w, int r, int64_t first, int count, int n)
{
    float *p = w->score + r * ATTEND_KEYS, *out = w->out + r * w->shape.width, old = w->top[r], top;
    int lo, hi, from, to;
    attend_visible(w, r, first, count, &lo, &hi);
    attend_hidden(w, r, first, lo, hi, &from, &to);
    if (to - from >= hi - lo) { /* nothing is seen */
        memset(p, 0, (size_t)n * sizeof *p);
        return;
    }
    if (w->a->softcap > 0)
        attend_cap(p, n, w->a->softcap);
    for (int i = 0; i < lo; i++)
        p[i] = -INFINITY;
    for (int i = from; i < to; i++)
        p[i] = -INFINITY;
    for (int i = hi; i < n; i++)
        p[i] = -INFINITY;
    vf most = v_set(old), total = v_set(0);
    for (int i = 0; i < n; i += VL)
        most = v_max(most, v_load(p + i));
    w->top[r] = top = v_top(most);
    for (int i = 0; i < n; i += VL) {
        vf e = v_exp(v_sub(v_load(p + i), v_set(top)));
        v_store(p + i, e);
        total = v_add(total, e);
    }
    if (top == old) {
        w->sum[r] += v_sum(total);
        return;
    }
    float shrink = expf(old - top); /* 0 the first time: old is -inf */
    w->sum[r] = w->sum[r] * shrink + v_sum(total);
    for (int i = 0; i < w->shape.width; i += VL)
        v_store(out + i, v_mul(v_load(out + i), v_set(shrink)));
}

#include "kernels/cpu/attention_few_tmpl.h"

/* One block of `count` keys from `first` on. */
static void attend_block(struct attend *w, int64_t first, int count)
{
    if (attend_is_few(w)) {
        attend_block_few(w, first, count);
        return;
    }
    const struct attend_shape *s = &w->shape;
    struct tile t;
    attend_pack(w->keys, w, w->seq->k, first, count);
    attend_copy(w->values, w, w->seq->v, first, count);
    for (int r = 0; r < w->n_rows; r += TILE_ROWS) {
        int reach = attend_reach(w, r + TILE_ROWS - 1, first, count), n = (reach + TILE_COLS - 1) / TILE_COLS * TILE_COLS;
        attend_products(w->score, w, r, reach, w->q, w->keys, w->a->scale);
        for (int i = r; i < r + TILE_ROWS && i < w->n_rows && reach > 0; i++)
            attend_softmax(w, i, first, count, n);
        for (int c = 0; c < s->width && reach > 0; c += TILE_COLS) {
            tile_product(&t, reach, w->score + r * ATTEND_KEYS, ATTEND_KEYS, 1, w->values + c, s->width);
            tile_write(&t, w->out + r * s->width + c, s->width, TILE_ROWS, TILE_COLS, 1, true);
        }
    }
}

/* The blocks of keys that the fork hides from every row of the block of queries: *from .. *to - 1. */
VEC void attend_hole(const struct attend *w, int64_t *from, int64_t *to)
{
    const struct attention_seq *s = w->seq;
    *from = (s->fork_at + ATTEND_KEYS - 1) / ATTEND_KEYS * ATTEND_KEYS;
    *to = attend_position(w, 0) >= s->fork_end ? s->fork_end / ATTEND_KEYS * ATTEND_KEYS : 0;
    *to = *to > *from ? *to : *from;
}

/* The block of queries over the keys from .. to - 1, from a multiple of ATTEND_KEYS: out, top and sum, not yet divided. */
static void attend_keys(struct attend *w, int64_t from, int64_t to)
{
    attend_gather(w->q, w, w->a->q, w->a->q_stride);
    memset(w->out, 0, (size_t)(attend_rows(w) * w->shape.width) * sizeof *w->out);
    for (int r = 0; r < attend_rows(w); r++)
        w->top[r] = -INFINITY, w->sum[r] = 0;
    int64_t hidden, seen;
    attend_hole(w, &hidden, &seen);
    for (int64_t k = from; k < to; k += ATTEND_KEYS)
        if (k < hidden || k >= seen)
            attend_block(w, k, (int)(to - k < ATTEND_KEYS ? to - k : ATTEND_KEYS));
}

static void attend_finish_row(const struct attend *w, int r, const float *out, float top, float sum)
{
    const struct attention *a = w->a;
    int64_t row = w->seq->q_row + w->query + r / w->shape.group, head = w->head * w->shape.group + r % w->shape.group;
    float *to = a->out + row * a->out_stride + head * w->shape.dim;
    for (int i = 0; i < w->shape.dim; i += VL) {
        int n = w->shape.dim - i < VL ? w->shape.dim - i : VL;
        v_store_n(to + i, v_div(v_load(out + i), v_set(sum)), n);
    }
    if (a->lse)
        a->lse[row * a->heads + head] = top + logf(sum);
}

/* First and last + 1 key that the block's queries see, the first rounded down to a block of keys. */
VEC void attend_range(const struct attend *w, int64_t *from, int64_t *to)
{
    int64_t at = attend_position(w, 0), fork = w->seq->fork_end, first = attend_first_key(w, at);
    *to = attend_position(w, w->n_rows - 1) + 1;
    if (at < fork && fork < *to) { /* rows behind a fork see keys from before what those ahead of it may see */
        int64_t behind = attend_first_key(w, fork);
        first = behind < first ? behind : first;
    }
    *from = first / ATTEND_KEYS * ATTEND_KEYS;
}

/* Sequences short of queries and long in keys: the parts are independent tasks, joined in order afterwards. */
VEC bool attend_is_split(const struct attend_shape *s, const struct attention_seq *seq)
{
    return seq->q_len <= SPLIT_QUERIES && seq->q_len <= s->queries && seq->k_len > SPLIT_KEYS;
}

VEC int64_t attend_part_keys(const struct attention_seq *s)
{
    int64_t keys = (s->k_len + SPLIT_PARTS - 1) / SPLIT_PARTS;
    keys = (keys + ATTEND_KEYS - 1) / ATTEND_KEYS * ATTEND_KEYS;
    return keys > SPLIT_KEYS ? keys : SPLIT_KEYS;
}

/* Tasks of a sample: (block of queries or part of the keys) x key/value heads. */
VEC int64_t attend_tasks(const struct attention *a, const struct attend_shape *s, const struct attention_seq *seq)
{
    if (seq->q_len == 0)
        return 0;
    if (attend_is_split(s, seq))
        return ((seq->k_len - 1) / attend_part_keys(seq) + 1) * a->kv_heads;
    return ((seq->q_len - 1) / s->queries + 1) * a->kv_heads;
}

/* One part of the keys of a split sample. part: (rows, width) out, then top and sum (rows each). */
static void attend_part(struct attend *w, int64_t task, float *part)
{
    const struct attend_shape *s = &w->shape;
    int64_t from, to, first = task / w->a->kv_heads * attend_part_keys(w->seq), last = first + attend_part_keys(w->seq);
    w->query = 0;
    w->n_rows = (int)w->seq->q_len * s->group;
    attend_range(w, &from, &to);
    attend_keys(w, first > from ? first : from, last < to ? last : to);
    memcpy(part, w->out, (size_t)(w->n_rows * s->width) * sizeof *part);
    memcpy(part + SPLIT_QUERIES * s->group * s->width, w->top, (size_t)w->n_rows * sizeof *part);
    memcpy(part + SPLIT_QUERIES * s->group * (s->width + 1), w->sum, (size_t)w->n_rows * sizeof *part);
}

VEC int64_t attend_part_size(const struct attend_shape *s)
{
    return (int64_t)SPLIT_QUERIES * s->group * (s->width + 2);
}

/* Joins the parts of row r: each brought to the common maximum, summed in order. parts are `stride` floats apart. */
static void attend_join(const struct attend *w, int r, float *parts, int64_t n, int64_t stride)
{
    const struct attend_shape *s = &w->shape;
    int64_t tops = SPLIT_QUERIES * s->group * s->width + r, sums = tops + SPLIT_QUERIES * s->group;
    float top = -INFINITY, sum = 0, *out = parts + r * s->width;
    for (int64_t i = 0; i < n; i++)
        top = parts[i * stride + tops] > top ? parts[i * stride + tops] : top;
    for (int64_t i = 0; i < n; i++) {
        const float *part = parts + i * stride;
        float shrink = expf(part[tops] - top);
        sum += part[sums] * shrink;
        for (int c = 0; c < s->width; c += VL) {
            vf x = v_mul(v_load(part + r * s->width + c), v_set(shrink));
            v_store(out + c, i ? v_add(v_load(out + c), x) : x);
        }
    }
    attend_finish_row(w, r, out, top, sum);
}

/* first[n]: tasks before sample n. Which sample does a task belong to? */
static int attend_sample(const int64_t *first, int n_seq, int64_t task)
{
    int lo = 0, hi = n_seq;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (first[mid] <= task)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* part: where a split sample's task puts its result, else NULL. */
static void attend_task(struct attend *w, int64_t task, int64_t tasks, float *part)
{
    int64_t from, to;
    w->head = (int)(task % w->a->kv_heads);
    if (part) {
        attend_part(w, task, part);
        return;
    }
    w->query = (tasks - 1 - task) / w->a->kv_heads * w->shape.queries; /* the longest first */
    int64_t left = w->seq->q_len - w->query;
    w->n_rows = (int)(left < w->shape.queries ? left : w->shape.queries) * w->shape.group;
    attend_range(w, &from, &to);
    attend_keys(w, from, to);
    for (int r = 0; r < w->n_rows; r++)
        attend_finish_row(w, r, w->out + r * w->shape.width, w->top[r], w->sum[r]);
}

static void attend_join_sample(struct attend *w, float *parts, int64_t tasks)
{
    int64_t size = attend_part_size(&w->shape);
    w->query = 0;
    for (w->head = 0; w->head < w->a->kv_heads; w->head++)
        for (int r = 0; r < w->seq->q_len * w->shape.group; r++)
            attend_join(w, r, parts + w->head * size, tasks / w->a->kv_heads, w->a->kv_heads * size);
}

/* attend_sample of every task: first (n_seq + 1). Returns the floats that split samples need. */
static size_t attend_cut(int64_t *first, const struct attention *a, const struct attend_shape *shape)
{
    int64_t split = 0;
    first[0] = 0;
    for (int n = 0; n < a->n_seq; n++) {
        int64_t tasks = attend_tasks(a, shape, &a->seq[n]);
        first[n + 1] = first[n] + tasks;
        split = attend_is_split(shape, &a->seq[n]) ? first[n + 1] : split;
    }
    return (size_t)(split * attend_part_size(shape));
}

struct attend_pass {
    const struct attention *a;
    int rows; /* of a block of queries */
};

static void attend_all(void *arg)
{
    const struct attend_pass *pass = arg;
    const struct attention *a = pass->a;
    struct attend w = {.a = a, .shape = attend_shape_of(a->heads, a->kv_heads, a->head_dim, pass->rows)};
    int64_t *first = mem_array(NULL, (size_t)a->n_seq + 1, sizeof *first), t;
    size_t room = attend_cut(first, a, &w.shape);
    float *parts = room ? team_scratch(room) : NULL;
    struct team_work work;
    attend_place(&w, scratch_get(SCRATCH_OWN, attend_scratch(&w.shape)));
    team_enter(&work, first[a->n_seq]);
    team_wait();
    while ((t = team_next(&work)) >= 0) {
        int n = attend_sample(first, a->n_seq, t);
        w.seq = &a->seq[n];
        float *part = attend_is_split(&w.shape, w.seq) ? parts + t * attend_part_size(&w.shape) : NULL;
        attend_task(&w, t - first[n], first[n + 1] - first[n], part);
    }
    if (parts) {
        team_enter(&work, a->n_seq);
        team_wait();
        while ((t = team_next(&work)) >= 0)
            if (attend_is_split(&w.shape, &a->seq[t])) {
                w.seq = &a->seq[t];
                attend_join_sample(&w, parts + first[t] * attend_part_size(&w.shape), first[t + 1] - first[t]);
            }
    }
    free(first);
}

/* Large blocks of queries, where there are enough for all threads. */
static int attend_block_rows(const struct attention *a)
{
    struct attend_shape large = attend_shape_of(a->heads, a->kv_heads, a->head_dim, ATTEND_ROWS_LARGE);
    int64_t tasks = 0;
    for (int i = 0; i < a->n_seq; i++)
        tasks += attend_tasks(a, &large, &a->seq[i]);
    return tasks >= 8 * omp_get_max_threads() ? ATTEND_ROWS_LARGE : ATTEND_ROWS;
}

static void ISA(attention)(const struct attention *a)
{
    struct attend_pass pass = {a, team_in() ? ATTEND_ROWS : attend_block_rows(a)};
    if (team_in())
        attend_all(&pass);
    else
        team_run(attend_all, &pass);
}

#endif
