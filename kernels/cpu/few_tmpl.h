/* y = x W^T for few rows of x: W passes by once, in its stored type, and each element of y is a dot product with VL running sums.
 * The sums of an element run over k in order, whatever tile it is computed in: a row's bits do not depend on its neighbours. */
#ifndef KERNELS_CPU_FEW_TMPL_H
#define KERNELS_CPU_FEW_TMPL_H

#define FEW_DEPTH 2048 /* x is taken in pieces of this depth: MATMUL_FEW_ROWS of them fit into the L2 cache */
#define FEW_GROUP 12   /* columns of y that one task step computes for all rows while their part of W is cached */

struct few {
    const struct matmul *m;
    const float *x;        /* (m, depth padded to VL) */
    int64_t x_row, depth0, depth;
    enum load_kind kind;
};

/* ROWS x COLS dot products at once; constants, so that the sums stay in registers. */
VEC void few_tile(const struct few *f, int64_t row, int64_t col, const int rows, const int cols, enum load_kind kind)
{
    const struct matmul *m = f->m;
    int size = load_size(kind);
    const char *w = (const char *)m->b.data + (col * m->b.col_stride + f->depth0) * size;
    int64_t w_row = m->b.col_stride * size, ahead = cols * w_row, whole = f->depth / VL * VL;
    const float *x = f->x + row * f->x_row;
    vf sum[4][6];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 6
        for (int j = 0; j < cols; j++)
            sum[i][j] = v_set(0);
    for (int64_t k = 0; k < whole; k += VL) {
        vf xi[4];
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
            xi[i] = v_load(x + i * f->x_row + k);
#pragma GCC unroll 6
        for (int j = 0; j < cols; j++) {
            const char *p = w + j * w_row + k * size;
            vf wj = load_typed(p, kind);
            __builtin_prefetch(p + ahead); /* the same place of the next columns: rows of W are too short for the hardware to foresee */
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++)
                sum[i][j] = v_fma(xi[i], wj, sum[i][j]);
        }
    }
    for (int j = 0; j < cols && whole < f->depth; j++) {
        vf wj = load_typed_n(w + j * w_row + whole * size, kind, (int)(f->depth - whole));
        for (int i = 0; i < rows; i++)
            sum[i][j] = v_fma(v_load(x + i * f->x_row + whole), wj, sum[i][j]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 6
        for (int j = 0; j < cols; j++) {
            float *c = m->c + (row + i) * m->ldc + col + j, s = v_sum(sum[i][j]);
            *c = f->depth0 == 0 && m->beta == 0 ? m->alpha * s : __builtin_fmaf(m->alpha, s, *c);
        }
}

/* All rows by the columns col .. col + cols - 1. */
VEC void few_columns(const struct few *f, int64_t col, int cols, enum load_kind kind)
{
    int64_t i = 0, n = f->m->m;
    int j;
    for (; i + 4 <= n; i += 4) {
        for (j = 0; j + 3 <= cols; j += 3)
            few_tile(f, i, col + j, 4, 3, kind);
        for (; j < cols; j++)
            few_tile(f, i, col + j, 4, 1, kind);
    }
    for (; i + 2 <= n; i += 2) {
        for (j = 0; j + 4 <= cols; j += 4)
            few_tile(f, i, col + j, 2, 4, kind);
        for (; j < cols; j++)
            few_tile(f, i, col + j, 2, 1, kind);
    }
    for (; i < n; i++) {
        for (j = 0; j + 6 <= cols; j += 6)
            few_tile(f, i, col + j, 1, 6, kind);
        for (; j < cols; j++)
            few_tile(f, i, col + j, 1, 1, kind);
    }
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

/* Row i of x, steps depth0 .. depth0 + depth - 1, as f32 with zeros up to a whole vector. */
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

static void matmul_few(const struct matmul *m)
{
    int64_t deep = m->k < FEW_DEPTH ? m->k : FEW_DEPTH, x_row = (deep + VL - 1) / VL * VL + VL;
    float *x = scratch_get(SCRATCH_SHARED, (size_t)(m->m * x_row));
    bool small = (double)m->m * (double)m->n * (double)m->k < 1 << 15;
#pragma omp parallel if (!small)
    for (int64_t depth0 = 0; depth0 < m->k; depth0 += FEW_DEPTH) {
        struct few f = {m, x, x_row, depth0, m->k - depth0 < FEW_DEPTH ? m->k - depth0 : FEW_DEPTH,
                        load_kind_of(m->b.type, m->round_bf16)};
#pragma omp for
        for (int64_t i = 0; i < m->m; i++)
            few_copy_row(x + i * x_row, &f, i);
#pragma omp for schedule(dynamic, 4)
        for (int64_t col = 0; col < m->n; col += FEW_GROUP)
            few_group(&f, col);
    }
}

#endif
