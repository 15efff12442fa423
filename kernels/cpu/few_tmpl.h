/* y = x W^T for few rows of x: W passes by once, in its stored type, and each element of y is a dot product with two vectors of
 * running sums, which take turns. The sums of an element run over k in order, whatever tile it is computed in: a row's bits do
 * not depend on its neighbours. */
#ifndef KERNELS_CPU_FEW_TMPL_H
#define KERNELS_CPU_FEW_TMPL_H

#define FEW_DEPTH 2048 /* x is taken in pieces of this depth: MATMUL_FEW_ROWS of them fit into the L2 cache */
#define SMALL_PRODUCT (1 << 15) /* below this many multiply-adds a team costs more than it gives */
#define FEW_AHEAD 1024 /* bytes by which W is asked for ahead */
#define FEW_GROUP 12   /* columns of y that one task step computes for all rows while their part of W is cached */

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

/* The steps that come in whole pairs of vectors; those after them go to the first sum. */
VEC int64_t few_pairs(const struct few *f) { return f->depth / (2 * VL) * (2 * VL); }

VEC void few_write(const struct few *f, int64_t row, int64_t col, vf first, vf second)
{
    const struct matmul *m = f->m;
    float *c = m->c + row * m->ldc + col, s = v_sum(v_add(first, second));
    *c = f->depth0 == 0 && m->beta == 0 ? m->alpha * s : __builtin_fmaf(m->alpha, s, *c);
}

/* One or two rows by a column, which waits for memory alone: W is read as one stream. Columns side by side would be streams too
 * short for the hardware to foresee. `rows` is a constant, here and below, so that the sums stay in registers. */
VEC void few_stream(const struct few *f, int64_t row, int64_t col, const int rows, enum load_kind kind)
{
    int size = load_size(kind);
    const char *w = few_column(f, col, size);
    const float *x = f->x + row * f->x_row;
    vf sum[2][2] = {{v_set(0), v_set(0)}, {v_set(0), v_set(0)}};
    int64_t k = 0;
    for (; k < few_pairs(f); k += 2 * VL)
#pragma GCC unroll 2
        for (int u = 0; u < 2; u++) {
            const char *p = w + (k + u * VL) * size;
            vf wk = load_typed(p, kind);
            __builtin_prefetch(p + FEW_AHEAD);
#pragma GCC unroll 2
            for (int i = 0; i < rows; i++)
                sum[i][u] = v_fma(v_load(x + i * f->x_row + k + u * VL), wk, sum[i][u]);
        }
    for (; k < f->depth; k += VL) {
        int n = (int)(f->depth - k < VL ? f->depth - k : VL);
        vf wk = load_typed_n(w + k * size, kind, n);
        for (int i = 0; i < rows; i++)
            sum[i][0] = v_fma(v_load_n(x + i * f->x_row + k, n), wk, sum[i][0]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++)
        few_write(f, row + i, col, sum[i][0], sum[i][1]);
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

/* All rows by the columns col .. col + cols - 1. */
VEC void few_columns(const struct few *f, int64_t col, int cols, enum load_kind kind)
{
    int64_t i = 0, n = f->m->m;
    for (; i + 4 <= n; i += 4) {
        int j = 0;
        for (; j + 3 <= cols; j += 3)
            few_tile(f, i, col + j, 3, kind);
        for (; j < cols; j++)
            few_tile(f, i, col + j, 1, kind);
    }
    for (; i + 2 <= n; i += 2)
        for (int j = 0; j < cols; j++)
            few_stream(f, i, col + j, 2, kind);
    for (; i < n; i++)
        for (int j = 0; j < cols; j++)
            few_stream(f, i, col + j, 1, kind);
}

static void few_group(const struct few *f, int64_t col)
{
    int cols = (int)(f->m->n - col < FEW_GROUP ? f->m->n - col : FEW_GROUP);
    switch (f->kind) {
    case LOAD_F32: few_columns(f, col, cols, LOAD_F32); break;
    case LOAD_F32_ROUND: few_columns(f, col, cols, LOAD_F32_ROUND); break;
    case LOAD_F16: few_columns(f, col, cols, LOAD_F16); break;
    case LOAD_F16_ROUND: few_columns(f, col, cols, LOAD_F16_ROUND); break;
    case LOAD_BF16: few_columns(f, col, cols, LOAD_BF16); break;
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

VEC int64_t few_groups(const struct matmul *m) { return (m->n + FEW_GROUP - 1) / FEW_GROUP; }

/* x is taken in pieces, copied where it is not f32 side by side. */
static void matmul_few(const struct matmul *m)
{
    int64_t deep = m->k < FEW_DEPTH ? m->k : FEW_DEPTH;
    float *copy = few_in_place(m) ? NULL : scratch_get(SCRATCH_SHARED, (size_t)(m->m * (deep + VL)));
#pragma omp parallel
    for (int64_t depth0 = 0; depth0 < m->k; depth0 += FEW_DEPTH) {
        struct few f = few_of(m);
        f.depth0 = depth0;
        f.depth = m->k - depth0 < FEW_DEPTH ? m->k - depth0 : FEW_DEPTH;
        if (copy) {
            f.x = copy;
            f.x_row = deep + VL;
#pragma omp for
            for (int64_t i = 0; i < m->m; i++)
                few_copy_row(copy + i * f.x_row, &f, i);
        } else {
            f.x += depth0;
        }
#pragma omp for schedule(guided)
        for (int64_t g = 0; g < few_groups(m); g++)
            few_group(&f, g * FEW_GROUP);
    }
}

/* Several products in one go of the team: those of one token are short. */
static void matmul_few_together(const struct matmul *list, int count)
{
    int64_t groups = 0;
    double work = 0;
    for (int i = 0; i < count; i++) {
        groups += few_groups(list + i);
        work += (double)list[i].m * (double)list[i].n * (double)list[i].k;
    }
#pragma omp parallel for schedule(guided) if (work >= SMALL_PRODUCT)
    for (int64_t g = 0; g < groups; g++) {
        const struct matmul *m = list;
        int64_t at = g;
        for (; at >= few_groups(m); m++)
            at -= few_groups(m);
        struct few f = few_of(m);
        few_group(&f, at * FEW_GROUP);
    }
}

#endif
