/* Attention, both ways: the specification against a double version that finite differences vouch for, each level against the
 * specification, over awkward shapes; samples must not feel each other, nor the number of threads. */
#include "tests/unit/kernels_check.h"

#define MAX_SEQ 8

struct shape {
    int heads, kv_heads, dim;
    int64_t window;
    float softcap;
    int n_seq;
    int64_t q_len[MAX_SEQ], k_len[MAX_SEQ];
    int64_t fork_at[MAX_SEQ], fork_end[MAX_SEQ];
    bool round_bf16, aligned; /* aligned: rows begin at multiples of 16 bytes */
};

/* Everything one call needs. Strides leave gaps between rows, where nothing may be written. */
struct call {
    struct attention a;
    struct attention_seq seq[MAX_SEQ];
    float *q, *kv, *out, *lse, *dout, *dq, *dkv; /* kv: keys at 0, values at kv_heads * dim of each row */
    int64_t q_rows, kv_rows;
};

#define GAP 3

static void call_new(struct call *c, const struct shape *s)
{
    int64_t q_row = 0, kv_row = 0, width = s->heads * s->dim, kv_width = s->kv_heads * s->dim;
    memset(c, 0, sizeof *c);
    for (int n = 0; n < s->n_seq; n++)
        c->q_rows += s->q_len[n], c->kv_rows += s->k_len[n];
    int64_t gap = s->aligned ? 4 : GAP;
    c->a = (struct attention){.n_seq = s->n_seq, .seq = c->seq, .q_stride = width + gap, .kv_stride = 2 * kv_width + gap,
                              .out_stride = width + (s->aligned ? 4 : 1), .round_bf16 = s->round_bf16, .heads = s->heads, .kv_heads = s->kv_heads, .head_dim = s->dim,
                              .window = s->window, .scale = 1.5f / sqrtf((float)s->dim), .softcap = s->softcap};
    c->q = block_new(c->q_rows * c->a.q_stride, 1);
    c->kv = block_new(c->kv_rows * c->a.kv_stride, 2);
    c->out = block_new(c->q_rows * c->a.out_stride, 3);
    c->dout = block_new(c->q_rows * c->a.out_stride, 4);
    c->dq = block_new(c->q_rows * c->a.q_stride, 5);
    c->dkv = block_new(c->kv_rows * c->a.kv_stride, 6);
    c->lse = block_new(c->q_rows * s->heads, 7);
    c->a.q = c->q, c->a.out = c->out, c->a.lse = c->lse, c->a.dout = c->dout, c->a.dq = c->dq;
    for (int n = 0; n < s->n_seq; q_row += s->q_len[n], kv_row += s->k_len[n], n++) {
        float *k = c->kv + kv_row * c->a.kv_stride, *dk = c->dkv + kv_row * c->a.kv_stride;
        c->seq[n] = (struct attention_seq){q_row, s->q_len[n], k, k + kv_width, dk, dk + kv_width, s->k_len[n], s->fork_at[n], s->fork_end[n]};
    }
}

static void call_free(struct call *c)
{
    block_free(c->q), block_free(c->kv), block_free(c->out), block_free(c->dout), block_free(c->dq), block_free(c->dkv), block_free(c->lse);
}

/* The truth, in double, with the layout of the call. Where a call leaves gaps, so does the truth. `rounded`: no truth, but what comes of it when
 * the factors are rounded to bf16 where they are multiplied, and nothing else is. */
struct truth {
    double *q, *kv, *out, *lse, *dout, *dq, *dkv;
    bool rounded;
};

static double factor(const struct truth *t, double x)
{
    return t->rounded ? (double)bf16_to_f32(f32_to_bf16((float)x)) : x;
}

static double *widen(const float *p, int64_t n)
{
    double *d = mem_array(NULL, (size_t)n, sizeof *d);
    for (int64_t i = 0; i < n; i++)
        d[i] = p[i];
    return d;
}

static void truth_new(struct truth *t, const struct call *c, bool rounded)
{
    t->rounded = rounded;
    t->q = widen(c->q, c->q_rows * c->a.q_stride);
    t->kv = widen(c->kv, c->kv_rows * c->a.kv_stride);
    t->out = widen(c->out, c->q_rows * c->a.out_stride);
    t->lse = widen(c->lse, c->q_rows * c->a.heads);
    t->dout = widen(c->dout, c->q_rows * c->a.out_stride);
    t->dq = widen(c->dq, c->q_rows * c->a.q_stride);
    t->dkv = widen(c->dkv, c->kv_rows * c->a.kv_stride);
}

static void truth_free(struct truth *t)
{
    free(t->q), free(t->kv), free(t->out), free(t->lse), free(t->dout), free(t->dq), free(t->dkv);
}

/* The two branches of a forked sample are told apart by positions: each is a sample of its own behind the common beginning. */
static bool truth_sees(const struct call *c, const struct attention_seq *s, int64_t row, int64_t key)
{
    bool forked = s->fork_end > 0, second = forked && row >= s->fork_end;
    int64_t jump = forked ? s->fork_end - s->fork_at : 0, position = second ? row - jump : row;
    int64_t at = forked && key >= s->fork_end ? key - jump : key;
    if (forked && key >= s->fork_at && second != (key >= s->fork_end))
        return false;
    return at <= position && (c->a.window <= 0 || position - at < c->a.window);
}

/* One query row and head: scores to p, -inf where it does not see, up to *last. Returns the log-sum-exp. */
static double truth_scores(const struct truth *t, const struct call *c, int n, int64_t i, int h, double *p, int64_t *last)
{
    const struct attention *a = &c->a;
    const struct attention_seq *s = &a->seq[n];
    const double *k = t->kv + (s->k - c->kv) + h / (a->heads / a->kv_heads) * a->head_dim;
    const double *q = t->q + (s->q_row + i) * a->q_stride + h * a->head_dim;
    double top = -INFINITY, sum = 0;
    *last = s->k_len - s->q_len + i;
    for (int64_t j = 0; j <= *last; j++) {
        p[j] = truth_sees(c, s, *last, j) ? 0 : -INFINITY;
        if (p[j] < 0)
            continue;
        for (int d = 0; d < a->head_dim; d++)
            p[j] += a->scale * factor(t, q[d]) * factor(t, k[j * a->kv_stride + d]);
        if (a->softcap > 0)
            p[j] = a->softcap * tanh(p[j] / a->softcap);
        top = p[j] > top ? p[j] : top;
    }
    for (int64_t j = 0; j <= *last; j++)
        sum += exp(p[j] - top);
    return top + log(sum);
}

static void truth_forward(struct truth *t, const struct call *c)
{
    const struct attention *a = &c->a;
    double *p = mem_array(NULL, (size_t)c->kv_rows + 1, sizeof *p);
    for (int n = 0; n < a->n_seq; n++)
        for (int64_t i = 0; i < a->seq[n].q_len; i++)
            for (int h = 0; h < a->heads; h++) {
                int64_t last, row = a->seq[n].q_row + i;
                const double *v = t->kv + (a->seq[n].v - c->kv) + h / (a->heads / a->kv_heads) * a->head_dim;
                double *out = t->out + row * a->out_stride + h * a->head_dim;
                double lse = t->lse[row * a->heads + h] = truth_scores(t, c, n, i, h, p, &last);
                for (int d = 0; d < a->head_dim; d++)
                    out[d] = 0;
                for (int64_t j = 0; j <= last; j++)
                    for (int d = 0; d < a->head_dim; d++)
                        out[d] += factor(t, exp(p[j] - lse)) * factor(t, v[j * a->kv_stride + d]);
            }
    free(p);
}

static void truth_backward_row(struct truth *t, const struct call *c, int n, int64_t i, int h, double *p)
{
    const struct attention *a = &c->a;
    const struct attention_seq *s = &a->seq[n];
    int64_t last, row = s->q_row + i, at = h / (a->heads / a->kv_heads) * a->head_dim;
    double lse = truth_scores(t, c, n, i, h, p, &last), delta = 0;
    const double *q = t->q + row * a->q_stride + h * a->head_dim, *dout = t->dout + row * a->out_stride + h * a->head_dim;
    double *dq = t->dq + row * a->q_stride + h * a->head_dim;
    for (int d = 0; d < a->head_dim; d++)
        dq[d] = 0, delta += dout[d] * t->out[row * a->out_stride + h * a->head_dim + d];
    for (int64_t j = 0; j <= last; j++) {
        if (isinf(p[j]))
            continue;
        const double *k = t->kv + (s->k - c->kv) + at + j * a->kv_stride, *v = k + (s->v - s->k);
        double *dk = t->dkv + (s->dk - c->dkv) + at + j * a->kv_stride, *dv = dk + (s->dv - s->dk), dp = 0, e = exp(p[j] - lse);
        for (int d = 0; d < a->head_dim; d++)
            dp += factor(t, dout[d]) * factor(t, v[d]);
        double dz = factor(t, e * (dp - delta) * (a->softcap > 0 ? 1 - pow(p[j] / a->softcap, 2) : 1) * a->scale);
        for (int d = 0; d < a->head_dim; d++) {
            dq[d] += dz * factor(t, k[d]);
            dk[d] += dz * factor(t, q[d]);
            dv[d] += factor(t, e) * factor(t, dout[d]);
        }
    }
}

static void truth_backward(struct truth *t, const struct call *c)
{
    const struct attention *a = &c->a;
    double *p = mem_array(NULL, (size_t)c->kv_rows + 1, sizeof *p);
    for (int64_t r = 0; r < c->kv_rows; r++)
        for (int64_t i = 0; i < 2 * a->kv_heads * a->head_dim; i++)
            t->dkv[r * a->kv_stride + i] = 0;
    for (int n = 0; n < a->n_seq; n++)
        for (int64_t i = 0; i < a->seq[n].q_len; i++)
            for (int h = 0; h < a->heads; h++)
                truth_backward_row(t, c, n, i, h, p);
    free(p);
}

/* The double gradient against central differences of the double forward pass, for L = sum of out * dout. */
static void test_truth(const struct shape *s)
{
    struct call c;
    struct truth t;
    double worst = 0, h = 1e-5;
    call_new(&c, s);
    truth_new(&t, &c, false);
    truth_forward(&t, &c);
    truth_backward(&t, &c);
    for (int side = 0; side < 2; side++) {
        double *x = side ? t.kv : t.q, *dx = side ? t.dkv : t.dq;
        int64_t rows = side ? c.kv_rows : c.q_rows, stride = side ? c.a.kv_stride : c.a.q_stride;
        for (int64_t i = 0; i < rows * stride; i++) {
            if (i % stride >= stride - GAP)
                continue;
            double was = x[i], loss[2] = {0, 0};
            for (int sign = 0; sign < 2; sign++) {
                x[i] = was + (sign ? h : -h);
                truth_forward(&t, &c);
                for (int64_t r = 0; r < c.q_rows; r++)
                    for (int d = 0; d < s->heads * s->dim; d++)
                        loss[sign] += t.out[r * c.a.out_stride + d] * t.dout[r * c.a.out_stride + d];
            }
            x[i] = was;
            double e = fabs((loss[1] - loss[0]) / (2 * h) - dx[i]);
            worst = e > worst ? e : worst;
        }
    }
    ok(worst < 1e-7, "attention: gradient of the double version against finite differences (window %d, softcap %g)", (int)s->window, s->softcap);
    truth_free(&t);
    call_free(&c);
}

static void run(const struct kernels *k, struct call *c, bool backward)
{
    k->attention(&c->a);
    if (backward)
        k->attention_backward(&c->a);
}

static bool outputs_as_good(const struct call *fast, const struct call *naive, const struct truth *t, bool backward, const char *what)
{
    const struct attention *a = &fast->a;
    int64_t n_q = fast->q_rows * a->q_stride, n_kv = fast->kv_rows * a->kv_stride, n_out = fast->q_rows * a->out_stride;
    bool good = as_good(fast->out, naive->out, t->out, n_out, what) && as_good(fast->lse, naive->lse, t->lse, fast->q_rows * a->heads, what);
    if (backward)
        good = good && as_good(fast->dq, naive->dq, t->dq, n_q, what) && as_good(fast->dkv, naive->dkv, t->dkv, n_kv, what);
    return good && block_margins_kept(fast->out, n_out) && block_margins_kept(fast->lse, fast->q_rows * a->heads) &&
           block_margins_kept(fast->dq, n_q) && block_margins_kept(fast->dkv, n_kv);
}

static void truth_make(struct truth *t, const struct call *c, bool rounded, bool backward)
{
    truth_new(t, c, rounded);
    truth_forward(t, c);
    if (backward)
        truth_backward(t, c);
}

static void narrow(float *to, const double *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

/* The results of a call that rounds factors and is exact otherwise. */
static void run_rounded(struct call *c, bool backward)
{
    struct truth t;
    truth_make(&t, c, true, backward);
    narrow(c->out, t.out, c->q_rows * c->a.out_stride);
    narrow(c->lse, t.lse, c->q_rows * c->a.heads);
    narrow(c->dq, t.dq, c->q_rows * c->a.q_stride);
    narrow(c->dkv, t.dkv, c->kv_rows * c->a.kv_stride);
    truth_free(&t);
}

/* Values in the gaps between rows are part of the comparison: every block starts from the same noise. */
static bool shape_agrees(const struct level *l, const struct shape *s, bool backward)
{
    struct call fast, naive;
    struct truth t;
    char what[150];
    snprintf(what, sizeof what, "%s%s heads %d/%d dim %d window %d softcap %g lengths %d %d", l->name, s->round_bf16 ? " bf16" : "", s->heads, s->kv_heads, s->dim, (int)s->window,
             s->softcap, (int)s->q_len[0], (int)s->k_len[0]);
    call_new(&fast, s);
    call_new(&naive, s);
    truth_make(&t, &fast, false, backward);
    if (s->round_bf16)
        run_rounded(&naive, backward);
    else
        run(&spec, &naive, backward);
    run(&l->k, &fast, backward);
    bool good = outputs_as_good(&fast, &naive, &t, backward, what);
    truth_free(&t);
    call_free(&fast), call_free(&naive);
    return good;
}

static const int heads[][3] = {{1, 1, 2}, {2, 1, 6}, {3, 1, 64}, {4, 2, 80}, {8, 1, 16}, {6, 6, 8}, {7, 1, 128}, {9, 3, 34}};
#define N_HEADS ((int)(sizeof heads / sizeof *heads))

static void test_lengths(const struct level *l, int64_t window, float softcap)
{
    int bad = 0;
    for (int i = 0; i < N_HEADS; i += level_is_emulated(l) ? 5 : level_is_slow(l) ? 3 : 1) {
        struct shape s = {heads[i][0], heads[i][1], heads[i][2], window, softcap, 7, {1, 3, 0, 7, 17, 97, 59}, {1, 3, 0, 7, 17, 97, 59}};
        struct shape lengthy = {heads[i][0], heads[i][1], heads[i][2], window, softcap, 1, {257}, {257}};
        bad += !shape_agrees(l, &s, true);
        if (i % 3 == 0 && !level_is_emulated(l))
            bad += !shape_agrees(l, &lengthy, true);
    }
    ok(bad == 0, "attention %s: packed samples, window %d, softcap %g", l->name, (int)window, softcap);
}

static void test_long(const struct level *l)
{
    int64_t n = level_is_emulated(l) ? 130 : 1025;
    struct shape s = {2, 1, 8, 0, 0, 1, {n}, {n}}, narrow = {2, 2, 8, n / 4, 0, 1, {n}, {n}};
    struct shape broad = {2, 1, 80, 0, 2, 1, {37}, {37}}, broadest = {1, 1, 256, 9, 0, 1, {35}, {35}};
    ok(shape_agrees(l, &s, true), "attention %s: %d tokens", l->name, (int)n);
    ok(shape_agrees(l, &narrow, true), "attention %s: %d tokens, window %d", l->name, (int)n, (int)(n / 4));
    ok(shape_agrees(l, &broad, true) && shape_agrees(l, &broadest, true), "attention %s: heads of 80 and 256", l->name);
}

/* Queries that continue a cache; one query over many keys is cut into parts along the keys. */
static void test_cache(const struct level *l)
{
    int bad = 0;
    for (int64_t window = 0; window <= 600; window += 600)
        for (int i = level_is_emulated(l) ? 5 : 1; i < N_HEADS; i += level_is_slow(l) ? 5 : 2) {
            struct shape s = {heads[i][0], heads[i][1], heads[i][2], window, i / 2 % 2 ? 5 : 0, 6, {1, 1, 4, 3, 21, 1}, {1, 97, 500, 1025, 131, 2049}};
            if (level_is_emulated(l))
                s.k_len[2] = 70, s.k_len[3] = 130, s.k_len[5] = 300;
            bad += !shape_agrees(l, &s, false);
        }
    ok(bad == 0, "attention %s: few queries on a cache", l->name);
}

static bool calls_equal(const struct call *x, const struct call *y)
{
    return !memcmp(x->out, y->out, (size_t)(x->q_rows * x->a.out_stride) * 4) && !memcmp(x->lse, y->lse, (size_t)(x->q_rows * x->a.heads) * 4) &&
           !memcmp(x->dq, y->dq, (size_t)(x->q_rows * x->a.q_stride) * 4) && !memcmp(x->dkv, y->dkv, (size_t)(x->kv_rows * x->a.kv_stride) * 4);
}

/* Forks at the first key, inside and at the edges of blocks of keys and queries, branches of one row, and neighbours without any. */
static void test_forks(const struct level *l, int64_t window, float softcap)
{
    const struct shape longer[] = {
        {4, 2, 6, window, softcap, 2, {500, 290}, {500, 290}, {96, 95}, {288, 193}},
        {2, 1, 6, window, softcap, 1, {650}, {650}, {0}, {448}},
        {1, 1, 2, window, softcap, 1, {1000}, {1000}, {100}, {690}},
    };
    const struct shape shorter = {2, 1, 6, window, softcap, 2, {150, 90}, {150, 90}, {64, 31}, {96, 65}};
    int bad = 0;
    for (int i = 0; i < N_HEADS; i += level_is_emulated(l) ? 5 : level_is_slow(l) ? 3 : 1) {
        struct shape few = {heads[i][0], heads[i][1], heads[i][2], window, softcap, 7, {2, 3, 9, 17, 40, 97, 59}, {2, 3, 9, 17, 40, 97, 59},
                            {0, 0, 0, 3, 38, 30, 0}, {1, 2, 1, 12, 39, 70, 0}};
        bad += !shape_agrees(l, &few, true);
    }
    for (int i = 0; i < 3 && !level_is_emulated(l); i++)
        bad += !shape_agrees(l, &longer[i], true);
    bad += !shape_agrees(l, &shorter, true);
    ok(bad == 0, "attention %s: forked samples, window %d, softcap %g", l->name, (int)window, softcap);
}

/* The first branch is what it is without the second: rows before the fork's end, and the gradients that only they reach. */
static void test_first_branch(const struct level *l, bool round_bf16)
{
    bool same = true, short_ones = level_is_emulated(l);
    const int64_t n = short_ones ? 140 : 700, at = short_ones ? 26 : 130, end = short_ones ? 84 : 420;
    for (int i = 0; i < (round_bf16 ? 1 : 2); i++) {
        struct shape forked = {6, 2, 10, i ? at + 20 : 0, 0, 1, {n}, {n}, {at}, {end}, round_bf16}, plain = {6, 2, 10, i ? at + 20 : 0, 0, 1, {end}, {end}, {0}, {0}, round_bf16};
        struct call pair, alone;
        call_new(&pair, &forked);
        call_new(&alone, &plain);
        for (int64_t r = 0; r < end; r++) { /* noise is drawn by place: strides are the same */
            memcpy(alone.q + r * alone.a.q_stride, pair.q + r * pair.a.q_stride, sizeof(float) * 60);
            memcpy(alone.kv + r * alone.a.kv_stride, pair.kv + r * pair.a.kv_stride, sizeof(float) * 40);
            memcpy(alone.dout + r * alone.a.out_stride, pair.dout + r * pair.a.out_stride, sizeof(float) * 60);
        }
        run(&l->k, &pair, true);
        run(&l->k, &alone, true);
        same &= !memcmp(pair.lse, alone.lse, sizeof(float) * (size_t)end * 6);
        for (int64_t r = 0; r < end; r++) {
            same &= !memcmp(pair.out + r * pair.a.out_stride, alone.out + r * alone.a.out_stride, sizeof(float) * 60);
            same &= !memcmp(pair.dq + r * pair.a.q_stride, alone.dq + r * alone.a.q_stride, sizeof(float) * 60);
            same &= r < at || !memcmp(pair.dkv + r * pair.a.kv_stride, alone.dkv + r * alone.a.kv_stride, sizeof(float) * 40);
        }
        call_free(&pair), call_free(&alone);
    }
    ok(same, "attention %s: the first branch has the bits of a sample without fork%s", l->name, round_bf16 ? ", in bf16" : "");
}

static void test_threads(const struct level *l)
{
    struct shape s = {6, 2, 10, 0, 0, 5, {300, 1, 17, 730, 1}, {300, 1, 17, 730, 2100}, {0, 0, 4, 120, 0}, {0, 0, 9, 480, 0}};
    if (level_is_emulated(l))
        return; /* its order of blocks is another program's business */
    struct call one, more;
    bool same = true;
    call_new(&one, &s);
    run(&l->k, &one, true);
    for (int threads = 2; threads <= 3; threads++) {
        call_new(&more, &s);
        omp_set_num_threads(threads);
        run(&l->k, &more, true);
        same = same && calls_equal(&one, &more);
        call_free(&more);
    }
    omp_set_num_threads(1);
    ok(same, "attention %s: same bits for 1, 2 and 3 threads", l->name);
    call_free(&one);
}

/* Each sample of a pack alone gives the bits it has in the pack. */
static void test_company(const struct level *l, bool round_bf16)
{
    struct shape s = {6, 2, 10, 40, 0, 5, {130, 1, 17, 250, 1}, {130, 1, 17, 250, 2100}, {30, 0, 0, 0, 0}, {100, 0, 0, 0, 0}, round_bf16};
    if (level_is_emulated(l))
        s.q_len[3] = s.k_len[3] = 70, s.k_len[4] = 210;
    struct call pack, alone;
    bool same = true;
    call_new(&pack, &s);
    call_new(&alone, &s);
    run(&l->k, &pack, true);
    alone.a.n_seq = 1;
    for (int n = 0; n < s.n_seq; n++) {
        alone.a.seq = &alone.seq[n];
        run(&l->k, &alone, true);
    }
    same = calls_equal(&pack, &alone);
    ok(same, "attention %s: a sample's bits do not depend on the others%s", l->name, round_bf16 ? ", in bf16" : "");
    call_free(&pack), call_free(&alone);
}

/* The rows that few queries have together are those that each has behind the same keys alone. */
static void test_few(const struct level *l, bool round_bf16, int64_t window)
{
    struct shape s = {6, 2, 10, window, 0, 1, {4}, {729}, {0}, {0}, round_bf16}; /* the window of some begins a block of 128 keys later */
    struct call all, one;
    bool same = true;
    call_new(&all, &s);
    call_new(&one, &s);
    run(&l->k, &all, false);
    for (int64_t i = 0; i < s.q_len[0]; i++) {
        one.seq[0].q_row = i, one.seq[0].q_len = 1, one.seq[0].k_len = s.k_len[0] - s.q_len[0] + 1 + i;
        run(&l->k, &one, false);
    }
    same = calls_equal(&all, &one);
    ok(same, "attention %s: few queries do not feel each other, window %d%s", l->name, (int)window, round_bf16 ? ", in bf16" : "");
    call_free(&all), call_free(&one);
}

/* Where factors are rounded: error at most twice that of rounding them, over all sizes of heads that have a kernel and some between. */
static void test_rounded(const struct level *l)
{
    const struct shape shapes[] = {
        {3, 1, 34, 0, 0, 4, {1, 3, 17, 100}, {1, 3, 17, 100}, {0, 0, 3, 30}, {0, 0, 9, 80}, true},
        {4, 2, 64, 50, 2, 2, {40, 150}, {40, 150}, {0, 31}, {0, 90}, true, true},
        {1, 1, 80, 0, 1.5f, 2, {65, 20}, {65, 150}, {0}, {0}, true, true},
        {1, 1, 96, 100, 0, 1, {135}, {135}, {40}, {101}, true},
        {2, 1, 128, 0, 0, 1, {140}, {140}, {0}, {0}, true, true},
        {1, 1, 256, 9, 0, 1, {75}, {75}, {0}, {0}, true, true},
        {4, 2, 64, 0, 0, 3, {513, 1024, 65}, {513, 1024, 65}, {0, 100, 0}, {0, 800, 0}, true, true},
        {2, 1, 112, 300, 0, 2, {700, 18}, {700, 1000}, {0}, {0}, true, true},
        {8, 2, 128, 0, 0, 2, {1025, 300}, {1025, 900}, {0}, {0}, true, true},
        {2, 1, 192, 0, 30, 2, {400, 127}, {400, 127}, {399, 1}, {399, 64}, true},
        {2, 2, 256, 128, 0, 1, {520}, {520}, {0}, {0}, true, true},
    };
    int bad = 0;
    for (int i = 0; i < (level_is_emulated(l) ? 6 : 11); i++)
        bad += !shape_agrees(l, &shapes[i], true);
    ok(bad == 0, "attention %s: as good in bf16 as its factors are", l->name);
}

/* One query over many keys in rows that begin at multiples of 16 bytes. */
static void test_decode(const struct level *l)
{
    struct shape s = {8, 2, 128, 0, 0, 2, {1, 3}, {260, 150}, {0}, {0}, false, true}, none = {2, 1, 8, 0, 0, 1, {0}, {3}}, wide = {2, 2, 256, 140, 3, 1, {2}, {400}, {0}, {0}, true, true};
    if (!level_is_emulated(l))
        s.k_len[0] = 5000, wide.k_len[0] = 3000;
    ok(shape_agrees(l, &s, false) && shape_agrees(l, &wide, false), "attention %s: few queries, aligned", l->name);
    ok(shape_agrees(l, &none, false), "attention %s: no queries", l->name);
}

/* Device memory that a backward pass takes beside its arguments is what plans count; before anything else has made it larger. */
static void test_scratch(const struct level *l)
{
    struct shape s = {4, 2, 80, 0, 0, 1, {1}, {1}, {0}, {0}, true, true};
    int64_t left[2];
    for (int i = 0; i < 2; i++) {
        struct call c;
        s.q_len[0] = s.k_len[0] = i ? 21 : 1;
        call_new(&c, &s);
        run(&l->k, &c, true);
        left[i] = on_device->free_memory();
        call_free(&c);
    }
    int64_t more = (int64_t)on_device->scratch_bytes(4, 2, 80, 21) - (int64_t)on_device->scratch_bytes(4, 2, 80, 1);
    ok(more > 0 && left[0] - left[1] == more, "attention %s: scratch memory as planned", l->name);
}

static void test_twice(const struct level *l)
{
    struct shape s = {2, 1, 64, 0, 0, 2, {90, 1}, {90, 200}, {20, 0}, {60, 0}, true, true};
    struct call first, second;
    call_new(&first, &s);
    call_new(&second, &s);
    run(&l->k, &first, true);
    run(&l->k, &second, true);
    ok(calls_equal(&first, &second), "attention %s: the same bytes twice, in bf16", l->name);
    call_free(&first), call_free(&second);
}

int main(void)
{
    levels_open();
    struct shape small = {4, 2, 4, 0, 0, 3, {5, 0, 3}, {5, 0, 6}};
    test_truth(&small);
    small.window = 2;
    small.softcap = 1.5f;
    test_truth(&small);
    struct shape forked = {4, 2, 4, 3, 1.5f, 2, {9, 4}, {9, 4}, {3, 0}, {6, 2}};
    test_truth(&forked);
    for (int i = 0; i < n_levels; i++) {
        const struct level *l = &levels[i];
        if (level_is_emulated(l)) /* a device has it in large pieces */
            test_scratch(l);
        test_forks(l, 0, 0);
        test_forks(l, 7, 2);
        if (!level_is_emulated(l))
            test_forks(l, 110, 0);
        test_first_branch(l, false);
        test_lengths(l, 0, 0);
        test_lengths(l, 3, 0);
        test_lengths(l, 5, 2);
        test_lengths(l, 50, 0);
        test_lengths(l, 0, 1.5f);
        test_long(l);
        test_cache(l);
        test_threads(l);
        test_company(l, false);
        test_decode(l);
        if (strstr(l->name, "cuda")) { /* the CPU rounds no factors, and cuts keys by what a call has of queries */
            test_few(l, false, 0);
            test_few(l, false, 600);
            test_rounded(l);
            test_first_branch(l, true);
            test_company(l, true);
            test_few(l, true, 600);
            test_twice(l);
        }
    }
    return tap_end();
}
