/* Attention, backward: probabilities come again from the scores and the kept log-sum-exp, block by block.
 *   P = exp(S - lse), dP = dOut V^T, dS = scale * P * (dP - delta) [* (1 - (S / cap)^2)]
 *   dV += P^T dOut, dK += dS^T Q, dQ += dS K
 * A task is one block of keys of a sample and key/value head; it owns that block's dK and dV. A block of dQ gets terms from several
 * tasks: they add in order of keys, each waiting for its turn. Tasks are handed out in order of keys, so the first of those
 * at work never waits and the rest follow it. */
#ifndef KERNELS_CPU_ATTENTION_BACK_TMPL_H
#define KERNELS_CPU_ATTENTION_BACK_TMPL_H

struct attend_back {
    struct attend w;         /* its q, score (S, then P), keys, and values (the keys as they are) serve here as well */
    float *dout, *dq;        /* (rows, width) */
    float *dscore;           /* (rows, ATTEND_KEYS): dP, then dS */
    float *value_panels;     /* transposed values */
    float *dk, *dv;          /* (ATTEND_KEYS, width) */
    float *lse, *delta;      /* (rows) */
};

static size_t attend_back_scratch(const struct attend_shape *s)
{
    size_t own = (size_t)s->rows * (size_t)(2 * s->width + ATTEND_KEYS + 2) + (size_t)ATTEND_KEYS * (size_t)(2 * s->width + s->dim);
    return attend_scratch(s) + own;
}

static void attend_back_place(struct attend_back *b, float *p)
{
    const struct attend_shape *s = &b->w.shape;
    b->dout = p, p += s->rows * s->width;
    b->dq = p, p += s->rows * s->width;
    b->dscore = p, p += s->rows * ATTEND_KEYS;
    b->dk = p, p += ATTEND_KEYS * s->width;
    b->dv = p, p += ATTEND_KEYS * s->width;
    b->lse = p, p += s->rows;
    b->delta = p, p += s->rows;
    b->value_panels = p, p += ATTEND_KEYS * s->dim;
    attend_place(&b->w, p);
}

/* The rows of q and dout of a block of queries, their lse and delta = dout . out. */
static void attend_back_rows(struct attend_back *b)
{
    struct attend *w = &b->w;
    const struct attention *a = w->a;
    const struct attend_shape *s = &w->shape;
    attend_gather(w->q, w, a->q, a->q_stride);
    attend_gather(b->dout, w, a->dout, a->out_stride);
    attend_gather(w->out, w, a->out, a->out_stride);
    for (int r = 0; r < w->n_rows; r++) {
        vf sum = v_set(0);
        for (int i = 0; i < s->width; i += VL)
            sum = v_fma(v_load(w->out + r * s->width + i), v_load(b->dout + r * s->width + i), sum);
        b->delta[r] = v_sum(sum);
        b->lse[r] = a->lse[(w->seq->q_row + w->query + r / s->group) * a->heads + w->head * s->group + r % s->group];
    }
}

/* Row r: S and dP (the first n are there) become P and dS; what is not visible, up to the row's end, becomes 0. */
static void attend_back_row(struct attend_back *b, int r, int64_t first, int count)
{
    const struct attention *a = b->w.a;
    float *p = b->w.score + r * ATTEND_KEYS, *ds = b->dscore + r * ATTEND_KEYS;
    int lo, hi, from, to;
    attend_visible(&b->w, r, first, count, &lo, &hi);
    attend_hidden(&b->w, r, first, lo, hi, &from, &to);
    if (to - from >= hi - lo)
        lo = hi = from = to = 0;
    vf lse = v_set(b->lse[r]), delta = v_set(b->delta[r]), scale = v_set(a->scale), cap = v_set(a->softcap);
    for (int i = lo / VL * VL; i < hi; i += VL) {
        vf z = v_load(p + i), slope = scale;
        if (a->softcap > 0) {
            vf t = v_tanh(v_div(z, cap));
            z = v_mul(cap, t);
            slope = v_mul(scale, v_fnma(t, t, v_set(1)));
        }
        z = v_exp(v_sub(z, lse));
        v_store(p + i, z);
        v_store(ds + i, v_mul(v_mul(z, v_sub(v_load(ds + i), delta)), slope));
    }
    memset(p + from, 0, (size_t)(to - from) * sizeof *p);
    memset(ds + from, 0, (size_t)(to - from) * sizeof *ds);
    memset(p, 0, (size_t)lo * sizeof *p);
    memset(ds, 0, (size_t)lo * sizeof *ds);
    memset(p + hi, 0, (size_t)(ATTEND_KEYS - hi) * sizeof *p);
    memset(ds + hi, 0, (size_t)(ATTEND_KEYS - hi) * sizeof *ds);
}

/* to (count, width) += x^T y, x (rows, ATTEND_KEYS) one column a key, y (rows, width). Rows that come before a key do not see it. */
static void attend_back_keys(float *to, const struct attend *w, const float *x, const float *y, int64_t first, int count)
{
    const struct attend_shape *s = &w->shape;
    struct tile t;
    for (int k = 0; k < count; k += TILE_ROWS) {
        int64_t before = first + k - attend_position(w, 0);
        int skip = before > 0 ? (int)before * s->group : 0, rows = count - k < TILE_ROWS ? count - k : TILE_ROWS;
        for (int c = 0; c < s->width && skip < w->n_rows; c += TILE_COLS) {
            tile_product(&t, w->n_rows - skip, x + skip * ATTEND_KEYS + k, 1, ATTEND_KEYS, y + skip * s->width + c, s->width);
            tile_write(&t, to + k * s->width + c, s->width, rows, TILE_COLS, 1, true);
        }
    }
}

/* The block of queries: its terms of dk and dv are added, those of dq put into b->dq. */
static void attend_back_block(struct attend_back *b, int64_t first, int count)
{
    struct attend *w = &b->w;
    const struct attend_shape *s = &w->shape;
    struct tile t;
    attend_back_rows(b);
    for (int r = 0; r < w->n_rows; r += TILE_ROWS) {
        int reach = attend_reach(w, r + TILE_ROWS - 1, first, count);
        attend_products(w->score, w, r, reach, w->q, w->keys, w->a->scale);
        attend_products(b->dscore, w, r, reach, b->dout, b->value_panels, 1);
        for (int i = r; i < r + TILE_ROWS && i < w->n_rows; i++)
            attend_back_row(b, i, first, count);
        for (int c = 0; c < s->width; c += TILE_COLS) {
            tile_product(&t, reach, b->dscore + r * ATTEND_KEYS, ATTEND_KEYS, 1, w->values + c, s->width);
            tile_write(&t, b->dq + r * s->width + c, s->width, TILE_ROWS, TILE_COLS, 1, false);
        }
    }
    attend_back_keys(b->dv, w, w->score, b->dout, first, count);
    attend_back_keys(b->dk, w, b->dscore, w->q, first, count);
}

/* Adds b->dq to its rows (or sets them: the first term). */
static void attend_back_scatter(const struct attend_back *b, bool set)
{
    const struct attend *w = &b->w;
    const struct attend_shape *s = &w->shape;
    for (int r = 0; r < w->n_rows; r++) {
        int64_t row = w->seq->q_row + w->query + r / s->group, head = w->head * s->group + r % s->group;
        float *to = w->a->dq + row * w->a->q_stride + head * s->dim;
        for (int i = 0; i < s->dim; i += VL) {
            int n = s->dim - i < VL ? s->dim - i : VL;
            vf x = v_load(b->dq + r * s->width + i);
            v_store_n(to + i, set ? x : v_add(v_load_n(to + i, n), x), n);
        }
    }
}

/* Whether the block of queries sees the block of keys from `first` on; *before: how many earlier ones it sees. */
VEC bool attend_back_meets(const struct attend *w, int64_t first, int64_t *before)
{
    int64_t from, to, hidden, seen;
    attend_range(w, &from, &to);
    attend_hole(w, &hidden, &seen);
    hidden = hidden > from ? hidden : from;
    *before = (first - from - (first >= seen && seen > hidden ? seen - hidden : 0)) / ATTEND_KEYS;
    return first >= from && first < to && (first < hidden || first >= seen);
}

/* Waits until the terms of all `before` earlier blocks of keys are in; `turn` counts them. */
static void attend_back_take_turn(const struct attend_back *b, int *turn, int64_t before)
{
    while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) != before)
        sched_yield();
    attend_back_scatter(b, before == 0);
    __atomic_store_n(turn, (int)before + 1, __ATOMIC_RELEASE);
}

static void attend_back_store(const struct attend_back *b, int64_t first, int count)
{
    const struct attend *w = &b->w;
    int dim = w->shape.dim, width = w->shape.width;
    for (int k = 0; k < count; k++) {
        int64_t at = (first + k) * w->a->kv_stride + w->head * dim;
        memcpy(w->seq->dk + at, b->dk + k * width, (size_t)dim * sizeof(float));
        memcpy(w->seq->dv + at, b->dv + k * width, (size_t)dim * sizeof(float));
    }
}

/* One block of keys against every block of queries that sees it. turns: one counter a block of queries and key/value head. */
static void attend_back_task(struct attend_back *b, int64_t first, int *turns)
{
    struct attend *w = &b->w;
    const struct attention_seq *q = w->seq;
    const struct attend_shape *s = &w->shape;
    int count = (int)(q->k_len - first < ATTEND_KEYS ? q->k_len - first : ATTEND_KEYS);
    int64_t before, offset = q->k_len - q->q_len;
    attend_pack(w->keys, w, q->k, first, count);
    attend_copy(w->values, w, q->k, first, count);
    attend_pack(b->value_panels, w, q->v, first, count);
    memset(b->dk, 0, (size_t)(count * s->width) * sizeof *b->dk);
    memset(b->dv, 0, (size_t)(count * s->width) * sizeof *b->dv);
    for (w->query = first > offset ? (first - offset) / s->queries * s->queries : 0; w->query < q->q_len; w->query += s->queries) {
        int64_t left = q->q_len - w->query;
        w->n_rows = (int)(left < s->queries ? left : s->queries) * s->group;
        if (!attend_back_meets(w, first, &before))
            continue;
        attend_back_block(b, first, count);
        attend_back_take_turn(b, &turns[w->query / s->queries * w->a->kv_heads + w->head], before);
    }
    attend_back_store(b, first, count);
}

static void ISA(attention_backward)(const struct attention *a)
{
    struct attend_shape shape = attend_shape_of(a->heads, a->kv_heads, a->head_dim, ATTEND_ROWS);
    int64_t *tasks = mem_array(NULL, 2 * ((size_t)a->n_seq + 1), sizeof *tasks), *blocks = tasks + a->n_seq + 1, next = 0;
    tasks[0] = blocks[0] = 0;
    for (int n = 0; n < a->n_seq; n++) {
        tasks[n + 1] = tasks[n] + (a->seq[n].k_len + ATTEND_KEYS - 1) / ATTEND_KEYS * a->kv_heads;
        blocks[n + 1] = blocks[n] + (a->seq[n].q_len + shape.queries - 1) / shape.queries * a->kv_heads;
    }
    int *turns = mem_zalloc((size_t)blocks[a->n_seq], sizeof *turns);
#pragma omp parallel
    {
        struct attend_back b = {.w = {.a = a, .shape = shape}};
        attend_back_place(&b, scratch_get(SCRATCH_OWN, attend_back_scratch(&shape)));
        for (;;) {
            int64_t t = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED); /* in order, which `omp for` does not promise */
            if (t >= tasks[a->n_seq])
                break;
            int n = attend_sample(tasks, a->n_seq, t);
            b.w.seq = &a->seq[n];
            b.w.head = (int)((t - tasks[n]) % a->kv_heads);
            attend_back_task(&b, (t - tasks[n]) / a->kv_heads * ATTEND_KEYS, turns + blocks[n]);
        }
    }
    free(tasks), free(turns);
}

#endif
