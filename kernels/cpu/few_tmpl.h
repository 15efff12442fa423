/* y = x W^T for few rows of x: W passes by once, in its stored type. Each element of y is a dot product with one vector of running
 * sums, which run over k in the same order whatever tile they are computed in: a row's bits do not depend on its neighbours. */
#ifndef KERNELS_CPU_FEW_TMPL_H
#define KERNELS_CPU_FEW_TMPL_H

#define FEW_DEPTH 2048 /* x is taken in pieces of this depth: MATMUL_FEW_ROWS of them fit into the L2 cache */
#define SMALL_PRODUCT (1 << 15) /* below this many multiply-adds a team costs more than it gives */
#define FEW_STREAMS 3 /* parts of W that a thread reads side by side: memory gives a third more than to one long stream */
#define FEW_ROWS 4    /* rows of a tile: by a column of each stream they take as many sums as there are registers */
#define FEW_COLS 4    /* columns of each stream that make a task */
#define FEW_EARLY (128 << 10) /* bytes of W that are asked for before x is there */

struct few {
    const struct matmul *m;
    const float *x;        /* (m, depth) */
    int64_t x_row, depth0, depth;
    enum load_kind kind;
    int64_t x_scaled; /* GPTQ: where in a row its values scaled for their fields are, or what belongs to its digits */
    bool in_runs;     /* GPTQ and AWQ: few_in_runs() */
};

/* What a copy of x is for: any type, bf16, NF4 and FP4 in batches, GPTQ by digits, GPTQ (so many bits). */
enum few_use { FEW_USE_ANY = 0, FEW_USE_BF16 = 1, FEW_USE_BATCHES = 16, FEW_USE_DIGITS = 17 };

static inline bool few_in_batches(const struct quantized *q);
static inline bool few_by_digits(const struct quantized *q);

VEC int few_use(const struct matmul *m)
{
    const struct quantized *q = m->b.quantized;
    if (!q)
        return m->b.type == DTYPE_BF16 ? FEW_USE_BF16 : FEW_USE_ANY;
    if (few_by_digits(q))
        return FEW_USE_DIGITS;
    return q->kind == QUANTIZED_GPTQ ? q->bits : few_in_batches(q) ? FEW_USE_BATCHES : FEW_USE_ANY;
}

VEC const char *few_column(const struct few *f, int64_t col, int size)
{
    return (const char *)f->m->b.data + (col * f->m->b.col_stride + f->depth0) * size;
}

/* W is read as FEW_STREAMS streams of side by side columns, this many each. */
VEC int64_t few_gap(const struct matmul *m) { return (m->n + FEW_STREAMS - 1) / FEW_STREAMS; }

VEC int64_t few_groups(const struct matmul *m)
{
    if (m->b.quantized && !quantized_by_row(m->b.quantized))
        return (m->n + UNPACK_WIDE - 1) / UNPACK_WIDE;
    return (few_gap(m) + FEW_COLS - 1) / FEW_COLS;
}

/* The steps that come in whole pairs of vectors. */
VEC int64_t few_pairs(int64_t depth) { return depth / (2 * VL) * (2 * VL); }

/* Half of a pair. Those of bf16 are the even and the odd elements: to part them is less work than to widen them in order. */
VEC vf few_half(const char *p, int half, enum load_kind kind)
{
    if (kind != LOAD_BF16)
        return load_typed(p + half * VL * load_size(kind), kind);
    return half ? v_odd_bf16(p) : v_even_bf16(p);
}

VEC void few_write(const struct few *f, int64_t row, int64_t col, vf sum)
{
    const struct matmul *m = f->m;
    float *c = m->c + row * m->ldc + col, s = v_sum(sum);
    *c = f->depth0 == 0 && m->beta == 0 ? m->alpha * s : __builtin_fmaf(m->alpha, s, *c);
}

#include "kernels/cpu/few_quantized_tmpl.h"

/* Some rows by some columns `gap` apart. `rows` and `cols` are constants, here and below, so that the sums stay in registers. */
VEC void few_tile(const struct few *f, int64_t row, int64_t col, int64_t gap, const int rows, const int cols, enum load_kind kind)
{
    int size = load_size(kind);
    int64_t next = f->m->b.col_stride * size, step = gap * next, pairs = few_pairs(f->depth), k = 0;
    const char *w = few_column(f, col, size);
    const float *x = f->x + row * f->x_row;
    vf sum[FEW_ROWS][FEW_STREAMS], wk[FEW_STREAMS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++)
            sum[i][j] = v_set(0);
    for (; k < pairs; k += 2 * VL) {
        if (rows == FEW_ROWS) /* fewer wait for memory alone, which then looks ahead by itself */
#pragma GCC unroll 4
            for (int j = 0; j < cols; j++)
                __builtin_prefetch(w + j * step + k * size + next, 0, 2);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
#pragma GCC unroll 4
            for (int j = 0; j < cols; j++)
                wk[j] = few_half(w + j * step + k * size, half, kind);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) {
                vf xi = v_load(x + i * f->x_row + k + half * VL);
#pragma GCC unroll 4
                for (int j = 0; j < cols; j++)
                    sum[i][j] = v_fma(xi, wk[j], sum[i][j]);
            }
        }
    }
    for (; k < f->depth; k += VL) {
        int n = (int)(f->depth - k < VL ? f->depth - k : VL);
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++) {
            wk[j] = load_typed_n(w + j * step + k * size, kind, n);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++)
                sum[i][j] = v_fma(v_load_n(x + i * f->x_row + k, n), wk[j], sum[i][j]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++)
            few_write(f, row + i, col + j * gap, sum[i][j]);
}

/* All rows by a column of each stream, but perhaps of fewer. */
VEC void few_streams(const struct few *f, int64_t row, int64_t col, const int rows, enum load_kind kind)
{
    int64_t gap = few_gap(f->m);
    if (col + (FEW_STREAMS - 1) * gap < f->m->n)
        few_tile(f, row, col, gap, rows, FEW_STREAMS, kind);
    else
        for (; col < f->m->n; col += gap)
            few_tile(f, row, col, gap, rows, 1, kind);
}

VEC void few_rows(const struct few *f, int64_t col, enum load_kind kind)
{
    int64_t i = 0, n = f->m->m;
    for (; i + FEW_ROWS <= n; i += FEW_ROWS)
        few_streams(f, i, col, FEW_ROWS, kind);
    switch (n - i) {
    case 3: few_streams(f, i, col, 3, kind); break;
    case 2: few_streams(f, i, col, 2, kind); break;
    case 1: few_streams(f, i, col, 1, kind); break;
    }
}

/* All rows by all columns of group g. */
static void few_group(const struct few *f, int64_t g)
{
    const struct quantized *q = f->m->b.quantized;
    int64_t col = g * FEW_COLS, gap = few_gap(f->m), end = gap < col + FEW_COLS ? gap : col + FEW_COLS;
    if (q && !quantized_by_row(q)) {
        few_strip(f, g);
        return;
    }
    for (int64_t i = col; q && i < f->m->n; i += gap)
        few_columns(f, i, i - col + end < f->m->n ? i - col + end : f->m->n);
    for (; !q && col < end; col++)
        switch (f->kind) {
        case LOAD_F32: few_rows(f, col, LOAD_F32); break;
        case LOAD_F32_ROUND: few_rows(f, col, LOAD_F32_ROUND); break;
        case LOAD_F16: few_rows(f, col, LOAD_F16); break;
        case LOAD_F16_ROUND: few_rows(f, col, LOAD_F16_ROUND); break;
        case LOAD_BF16: few_rows(f, col, LOAD_BF16); break;
        }
}

/* Row i of x, steps depth0 .. depth0 + depth - 1, as f32. */
static void few_copy_row(float *to, const struct few *f, int64_t i)
{
    const struct mat *a = &f->m->a;
    enum load_kind kind = load_kind_of(a->type, f->m->round_bf16);
    const char *p = (const char *)a->data + (i * a->row_stride + f->depth0 * a->col_stride) * load_size(kind);
    struct strip s = {p, 1, a->col_stride, 1, f->depth};
    if (a->col_stride == 1)
        for (int64_t k = 0; k < f->depth; k += VL) {
            int n = (int)(f->depth - k < VL ? f->depth - k : VL);
            v_store(to + k, load_typed_n(p + k * load_size(kind), kind, n));
        }
    else
        pack_panel(to, 1, &s, kind); /* its last store is followed by zeros */
    if (few_use(f->m) == FEW_USE_DIGITS)
        few_digits_row(to, to + f->x_scaled, f);
    else if (f->x_scaled)
        few_scale_row(to + f->x_scaled, to, f->depth, few_use(f->m));
    if (few_use(f->m) == FEW_USE_BATCHES)
        few_order_row(to, f->depth);
    if (few_use(f->m) == FEW_USE_BF16)
        for (int64_t k = 0; k < few_pairs(f->depth); k += 2 * VL) {
            vf even, odd;
            v_unzip(v_load(to + k), v_load(to + k + VL), &even, &odd);
            v_store(to + k, even);
            v_store(to + k + VL, odd);
        }
}

VEC bool few_in_place(const struct matmul *m)
{
    return m->a.type == DTYPE_F32 && m->a.col_stride == 1 && !m->round_bf16 && few_use(m) == FEW_USE_ANY;
}

VEC bool few_same_x(const struct matmul *a, const struct matmul *b)
{
    return a->a.data == b->a.data && a->a.type == b->a.type && a->a.row_stride == b->a.row_stride && a->a.col_stride == b->a.col_stride &&
           a->m == b->m && a->k == b->k && a->round_bf16 == b->round_bf16 && !few_in_place(a) && !few_in_place(b) &&
           few_use(a) == few_use(b) && (few_use(a) != FEW_USE_DIGITS || a->b.quantized->group == b->b.quantized->group);
}

VEC struct few few_of(const struct matmul *m, int64_t depth0)
{
    int64_t depth = m->k - depth0 < FEW_DEPTH ? m->k - depth0 : FEW_DEPTH;
    const struct quantized *q = m->b.quantized;
    return (struct few){m, NULL, 0, depth0, depth, load_kind_of(m->b.type, m->round_bf16), 0, q && !quantized_by_row(q) && few_in_runs(q)};
}

/* x where it is, or a copy that the thread makes for itself: one for all would have to be waited for. */
static void few_set_x(struct few *f)
{
    if (few_in_place(f->m)) {
        f->x = (const float *)f->m->a.data + f->depth0;
        f->x_row = f->m->a.row_stride;
        return;
    }
    f->x_row = (f->depth + VL - 1) / VL * VL + VL;
    if (f->m->b.quantized && f->m->b.quantized->kind == QUANTIZED_GPTQ)
        f->x_scaled = f->x_row, f->x_row *= 2;
    float *copy = scratch_get(SCRATCH_OWN, (size_t)(f->m->m * f->x_row));
    for (int64_t i = 0; i < f->m->m; i++)
        few_copy_row(copy + i * f->x_row, f, i);
    f->x = copy;
}

/* The codes of task g: those of a column group of each stream, or of the first run of a strip. */
VEC void few_ask_codes(const struct few *f, int64_t g)
{
    const struct quantized *q = f->m->b.quantized;
    int64_t run = f->depth < FEW_RUN ? f->depth : FEW_RUN, lines = FEW_STREAMS, line = few_gap(f->m) * q->in * q->bits / 8, size = FEW_COLS * q->in * q->bits / 8;
    if (q->kind == QUANTIZED_GPTQ)
        lines = run * q->bits / 32, line = q->out * 4, size = UNPACK_WIDE * 4;
    else if (q->kind == QUANTIZED_AWQ)
        lines = run, line = q->out / 2, size = UNPACK_WIDE / 2;
    for (int64_t i = 0; i < lines; i++)
        for (int64_t at = 0; at < size; at += 64)
            __builtin_prefetch((const char *)q->codes + g * size + i * line + at);
}

/* While the rest of the team is waited for, the caller's part of W, from group g on, comes into its cache. */
VEC void few_wait(const struct few *f, int64_t g)
{
    if (f->m->b.quantized) {
        few_ask_codes(f, g);
        return;
    }
    int size = load_size(f->kind);
    int64_t gap = few_gap(f->m), step = gap * f->m->b.col_stride * size, most = (gap - g * FEW_COLS) * f->m->b.col_stride * size;
    const char *w = few_column(f, g * FEW_COLS, size);
    most = most < FEW_EARLY / FEW_STREAMS ? most : FEW_EARLY / FEW_STREAMS;
    for (int64_t at = 0; at < most && !team_ready(); at += 128)
        for (int s = 0; s < FEW_STREAMS; s++) {
            __builtin_prefetch(w + s * step + at, 0, 2);
            __builtin_prefetch(w + s * step + at + 64, 0, 2);
        }
}

/* Several products in one go of the team: those of one token are short. Only a product that is alone may be deeper than FEW_DEPTH. */
struct few_list {
    const struct matmul *list;
    int count;
};

/* The product to which group *g of all belongs; *g becomes the number within it. */
VEC const struct matmul *few_at(const struct few_list *l, int64_t *g)
{
    const struct matmul *m = l->list;
    for (; *g >= few_groups(m); m++)
        *g -= few_groups(m);
    return m;
}

static void few_piece(const struct few_list *l, int64_t depth0)
{
    struct team_work w;
    struct few f = {0};
    int64_t groups = 0, g;
    for (int i = 0; i < l->count; i++)
        groups += few_groups(l->list + i);
    team_enter(&w, groups);
    g = team_first(&w);
    if (g < groups) {
        struct few first = few_of(few_at(l, &g), depth0);
        few_wait(&first, g);
    }
    team_wait();
    while ((g = team_next(&w)) >= 0) {
        const struct matmul *m = few_at(l, &g), *before = f.m;
        if (m != before) {
            struct few next = few_of(m, depth0);
            if (before && few_same_x(before, m))
                next.x = f.x, next.x_row = f.x_row, next.x_scaled = f.x_scaled;
            else
                few_set_x(&next);
            f = next;
        }
        few_group(&f, g);
    }
}

static void few_pieces(void *arg)
{
    const struct few_list *l = arg;
    for (int64_t depth0 = 0; depth0 < l->list->k; depth0 += FEW_DEPTH)
        few_piece(l, depth0);
}

/* In the caller's team, in a new one, or alone where it is too little. */
static void matmul_few(const struct matmul *list, int count)
{
    struct few_list l = {list, count};
    double work = 0;
    for (int i = 0; i < count; i++)
        work += (double)list[i].m * (double)list[i].n * (double)list[i].k;
    if (work >= SMALL_PRODUCT && !team_in())
        team_run(few_pieces, &l);
    else
        few_pieces(&l);
}

#endif
