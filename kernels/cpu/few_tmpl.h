/* y = x W^T for few rows of x: W passes by once, in its stored type, and each element of y is a dot product with two vectors of
 * running sums, which take turns. The sums of an element run over k in order, whatever tile it is computed in: a row's bits do
 * not depend on its neighbours. */
#ifndef KERNELS_CPU_FEW_TMPL_H
#define KERNELS_CPU_FEW_TMPL_H

#define FEW_DEPTH 2048 /* x is taken in pieces of this depth: MATMUL_FEW_ROWS of them fit into the L2 cache */
#define SMALL_PRODUCT (1 << 15) /* below this many multiply-adds a team costs more than it gives */
#define FEW_STREAMS 4 /* parts of W that a thread reads side by side: memory gives a third more than to one long stream */
#define FEW_COLS 3    /* columns of each that one task takes for all rows while they are cached */
#define FEW_EARLY (128 << 10) /* bytes of W that are asked for before x is there */

struct few {
    const struct matmul *m;
    const float *x;        /* (m, depth) */
    int64_t x_row, depth0, depth;
    enum load_kind kind;
};

VEC const char *few_column(const struct few *f, int64_t col, int size)
{
    return (const char *)f->m->b.data + (col * f->m->b.col_stride + f->depth0) * size;
}

/* W is read as FEW_STREAMS streams of side by side columns, this many each. */
VEC int64_t few_gap(const struct matmul *m) { return (m->n + FEW_STREAMS - 1) / FEW_STREAMS; }

VEC int64_t few_groups(const struct matmul *m) { return (few_gap(m) + FEW_COLS - 1) / FEW_COLS; }

/* The steps that come in whole pairs of vectors; those after them go to the first sum. */
VEC int64_t few_pairs(const struct few *f) { return f->depth / (2 * VL) * (2 * VL); }

VEC void few_write(const struct few *f, int64_t row, int64_t col, vf first, vf second)
{
    const struct matmul *m = f->m;
    float *c = m->c + row * m->ldc + col, s = v_sum(v_add(first, second));
    *c = f->depth0 == 0 && m->beta == 0 ? m->alpha * s : __builtin_fmaf(m->alpha, s, *c);
}

/* One or two rows by some columns `gap` apart, which wait for memory alone. `rows` and `cols` are constants, here and below, so that
 * the sums stay in registers. */
VEC void few_stream(const struct few *f, int64_t row, int64_t col, int64_t gap, const int rows, const int cols, enum load_kind kind)
{
    int size = load_size(kind);
    int64_t step = gap * f->m->b.col_stride * size, k = 0;
    const char *w = few_column(f, col, size);
    const float *x = f->x + row * f->x_row;
    vf sum[2][FEW_STREAMS][2];
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++)
            sum[i][j][0] = sum[i][j][1] = v_set(0);
    for (; k < few_pairs(f); k += 2 * VL)
#pragma GCC unroll 2
        for (int u = 0; u < 2; u++)
#pragma GCC unroll 8
            for (int j = 0; j < cols; j++) {
                vf wk = load_typed(w + j * step + (k + u * VL) * size, kind);
#pragma GCC unroll 2
                for (int i = 0; i < rows; i++)
                    sum[i][j][u] = v_fma(v_load(x + i * f->x_row + k + u * VL), wk, sum[i][j][u]);
            }
    for (; k < f->depth; k += VL) {
        int n = (int)(f->depth - k < VL ? f->depth - k : VL);
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++) {
            vf wk = load_typed_n(w + j * step + k * size, kind, n);
#pragma GCC unroll 2
            for (int i = 0; i < rows; i++)
                sum[i][j][0] = v_fma(v_load_n(x + i * f->x_row + k, n), wk, sum[i][j][0]);
        }
    }
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < cols; j++)
            few_write(f, row + i, col + j * gap, sum[i][j][0], sum[i][j][1]);
}

/* Every second vector of the pairs, from `k` on, of 4 rows by some columns. */
VEC void few_tile_half(vf sum[4][3], const struct few *f, const float *x, const char *w, int64_t k, const int cols, enum load_kind kind)
{
    int size = load_size(kind);
    int64_t w_row = f->m->b.col_stride * size;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 3
        for (int j = 0; j < cols; j++)
            sum[i][j] = v_set(0);
    for (; k < few_pairs(f); k += 2 * VL) {
        vf xi[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            xi[i] = v_load(x + i * f->x_row + k);
#pragma GCC unroll 3
        for (int j = 0; j < cols; j++) {
            const char *p = w + j * w_row + k * size;
            vf wj = load_typed(p, kind);
            __builtin_prefetch(p + cols * w_row);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                sum[i][j] = v_fma(xi[i], wj, sum[i][j]);
        }
    }
}

/* Four rows by up to three columns, which has to calculate: as many sums as there are registers, so the two of an element come one
 * after the other. */
VEC void few_tile(const struct few *f, int64_t row, int64_t col, const int cols, enum load_kind kind)
{
    int size = load_size(kind);
    int64_t w_row = f->m->b.col_stride * size;
    const char *w = few_column(f, col, size);
    const float *x = f->x + row * f->x_row;
    vf first[4][3], second[4][3];
    few_tile_half(first, f, x, w, 0, cols, kind);
    for (int64_t k = few_pairs(f); k < f->depth; k += VL) {
        int n = (int)(f->depth - k < VL ? f->depth - k : VL);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < cols; j++)
                first[i][j] = v_fma(v_load_n(x + i * f->x_row + k, n), load_typed_n(w + j * w_row + k * size, kind, n), first[i][j]);
    }
    few_tile_half(second, f, x, w, VL, cols, kind);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < cols; j++)
            few_write(f, row + i, col + j, first[i][j], second[i][j]);
}

/* `rows` rows by the columns of a group: `cols` in each of the streams, but perhaps fewer in the last ones. */
VEC void few_streams(const struct few *f, int64_t row, int64_t col, int cols, const int rows, enum load_kind kind)
{
    int64_t gap = few_gap(f->m);
    int together = FEW_STREAMS / rows;
    for (int j = 0; j < cols; j++, col++) {
        int64_t c = col;
        for (int s = 0; s < rows; s++, c += together * gap)
            if (c + (together - 1) * gap < f->m->n)
                few_stream(f, row, c, gap, rows, FEW_STREAMS / rows, kind);
            else
                for (int64_t one = c; one < f->m->n; one += gap)
                    few_stream(f, row, one, 0, rows, 1, kind);
    }
}

/* Four rows by the same. */
VEC void few_tiles(const struct few *f, int64_t row, int64_t col, int cols, enum load_kind kind)
{
    int64_t gap = few_gap(f->m);
    for (int s = 0; s < FEW_STREAMS; s++, col += gap) {
        int j = 0, n = col >= f->m->n ? 0 : f->m->n - col < cols ? (int)(f->m->n - col) : cols;
        for (; j + 3 <= n; j += 3)
            few_tile(f, row, col + j, 3, kind);
        for (; j < n; j++)
            few_tile(f, row, col + j, 1, kind);
    }
}

VEC void few_rows(const struct few *f, int64_t col, int cols, enum load_kind kind)
{
    int64_t i = 0, n = f->m->m;
    for (; i + 4 <= n; i += 4)
        few_tiles(f, i, col, cols, kind);
    for (; i + 2 <= n; i += 2)
        few_streams(f, i, col, cols, 2, kind);
    for (; i < n; i++)
        few_streams(f, i, col, cols, 1, kind);
}

/* All rows by all columns of group g. */
static void few_group(const struct few *f, int64_t g)
{
    int64_t col = g * FEW_COLS, left = few_gap(f->m) - col;
    int cols = left < FEW_COLS ? (int)left : FEW_COLS;
    switch (f->kind) {
    case LOAD_F32: few_rows(f, col, cols, LOAD_F32); break;
    case LOAD_F32_ROUND: few_rows(f, col, cols, LOAD_F32_ROUND); break;
    case LOAD_F16: few_rows(f, col, cols, LOAD_F16); break;
    case LOAD_F16_ROUND: few_rows(f, col, cols, LOAD_F16_ROUND); break;
    case LOAD_BF16: few_rows(f, col, cols, LOAD_BF16); break;
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
}

VEC bool few_in_place(const struct matmul *m)
{
    return m->a.type == DTYPE_F32 && m->a.col_stride == 1 && !m->round_bf16;
}

VEC struct few few_of(const struct matmul *m)
{
    return (struct few){m, m->a.data, m->a.row_stride, 0, m->k, load_kind_of(m->b.type, m->round_bf16)};
}

/* Waits for the rest of the team, while the caller's part of W, from group g on, comes into its cache. */
VEC void few_wait(const struct few *f, int64_t g)
{
    int size = load_size(f->kind);
    int64_t gap = few_gap(f->m), step = gap * f->m->b.col_stride * size, most = (gap - g * FEW_COLS) * f->m->b.col_stride * size;
    const char *w = few_column(f, g * FEW_COLS, size);
    most = most < FEW_EARLY / FEW_STREAMS ? most : FEW_EARLY / FEW_STREAMS;
    for (int64_t at = 0; at < most && !team_ready(); at += 128)
        for (int s = 0; s < FEW_STREAMS; s++) {
            __builtin_prefetch(w + s * step + at, 0, 2);
            __builtin_prefetch(w + s * step + at + 64, 0, 2);
        }
    team_wait();
}

/* x is taken in pieces, copied where it is not f32 side by side. */
static void few_deep(void *arg)
{
    const struct matmul *m = arg;
    int64_t deep = m->k < FEW_DEPTH ? m->k : FEW_DEPTH, i;
    float *copy = few_in_place(m) ? NULL : team_scratch((size_t)(m->m * (deep + VL)));
    struct team_work w;
    for (int64_t depth0 = 0; depth0 < m->k; depth0 += FEW_DEPTH) {
        struct few f = few_of(m);
        f.depth0 = depth0;
        f.depth = m->k - depth0 < FEW_DEPTH ? m->k - depth0 : FEW_DEPTH;
        if (copy) {
            f.x = copy;
            f.x_row = deep + VL;
            team_enter(&w, m->m);
            team_wait();
            while ((i = team_next(&w)) >= 0)
                few_copy_row(copy + i * f.x_row, &f, i);
        } else {
            f.x += depth0;
        }
        team_enter(&w, few_groups(m));
        few_wait(&f, team_first(&w));
        while ((i = team_next(&w)) >= 0)
            few_group(&f, i);
    }
}

/* Several products in one go of the team: those of one token are short. */
struct few_list {
    const struct matmul *list;
    int count;
};

/* The product to which group *g of all belongs; *g becomes the number within it. */
VEC struct few few_at(const struct few_list *l, int64_t *g)
{
    const struct matmul *m = l->list;
    for (; *g >= few_groups(m); m++)
        *g -= few_groups(m);
    return few_of(m);
}

static void few_together(void *arg)
{
    const struct few_list *l = arg;
    struct team_work w;
    int64_t groups = 0, g;
    for (int i = 0; i < l->count; i++)
        groups += few_groups(l->list + i);
    team_enter(&w, groups);
    g = team_first(&w);
    if (g < groups) {
        struct few f = few_at(l, &g);
        few_wait(&f, g);
    }
    team_wait();
    while ((g = team_next(&w)) >= 0) {
        struct few f = few_at(l, &g);
        few_group(&f, g);
    }
}

/* body(arg) in the caller's team, in a new one, or alone where `work` multiply-adds are too few. */
static void few_run(void (*body)(void *arg), void *arg, double work)
{
    if (work >= SMALL_PRODUCT && !team_in())
        team_run(body, arg);
    else
        body(arg);
}

static void matmul_few(const struct matmul *m)
{
    few_run(few_deep, (void *)m, (double)m->m * (double)m->n * (double)m->k);
}

static void matmul_few_together(const struct matmul *list, int count)
{
    struct few_list l = {list, count};
    double work = 0;
    for (int i = 0; i < count; i++)
        work += (double)list[i].m * (double)list[i].n * (double)list[i].k;
    few_run(few_together, &l, work);
}

#endif
