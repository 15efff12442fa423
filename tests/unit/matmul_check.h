/* Help for the tests of matrix products: factors of any layout and type, the true product, comparisons. */
#ifndef MATMUL_CHECK_H
#define MATMUL_CHECK_H

#include "tests/unit/kernels_check.h"

/* How a factor lies in memory. */
enum lay { ROWS, COLUMNS, SCATTERED };

struct factor {
    void *memory;
    struct mat mat;
};

/* At an odd address: weights come from mapped files. */
static struct factor factor_new(int64_t rows, int64_t cols, enum lay lay, enum dtype type, uint64_t stream)
{
    int64_t row = lay == ROWS ? cols + 2 : lay == COLUMNS ? 1 : 3 * cols + 1, col = lay == ROWS ? 1 : lay == COLUMNS ? rows + 1 : 3;
    int64_t n = (rows - 1) * row + (cols - 1) * col + 1;
    struct factor f = {.memory = mem_alloc((size_t)n * dtype_size(type) + 1)};
    float *values = block_new(n, stream);
    dtype_from_f32((char *)f.memory + 1, type, values, (size_t)n);
    f.mat = (struct mat){(char *)f.memory + 1, type, row, col};
    block_free(values);
    return f;
}

static float element(const struct mat *m, int64_t i, int64_t j, bool round)
{
    float f;
    dtype_to_f32(&f, (const char *)m->data + (i * m->row_stride + j * m->col_stride) * (int64_t)dtype_size(m->type), m->type, 1);
    return round ? bf16_to_f32(f32_to_bf16(f)) : f;
}

/* The elements of a factor, row by row. */
static float *dense(const struct mat *m, int64_t rows, int64_t cols, bool round)
{
    float *p = mem_array(NULL, (size_t)(rows * cols), sizeof *p);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            p[i * cols + j] = element(m, i, j, round);
    return p;
}

static void truth_of(const struct matmul *m, const float *c0, double *truth)
{
    float *a = dense(&m->a, m->m, m->k, m->round_bf16), *b = dense(&m->b, m->k, m->n, m->round_bf16);
    for (int64_t i = 0; i < m->m; i++)
        for (int64_t j = 0; j < m->ldc; j++) {
            double sum = 0;
            truth[i * m->ldc + j] = c0[i * m->ldc + j];
            for (int64_t k = 0; k < m->k && j < m->n; k++)
                sum += (double)a[i * m->k + k] * b[k * m->n + j];
            if (j < m->n)
                truth[i * m->ldc + j] = m->alpha * sum + (m->beta != 0 ? c0[i * m->ldc + j] : 0);
        }
    free(a), free(b);
}

static bool product_agrees(const struct level *l, struct matmul m)
{
    int64_t n = m.m * m.ldc;
    float *c0 = block_new(n, 3), *naive = block_copy(c0, n), *fast = block_copy(c0, n);
    double *truth = mem_array(NULL, (size_t)n, sizeof *truth);
    char what[120];
    snprintf(what, sizeof what, "%s %dx%dx%d types %d %d strides %d,%d %d,%d alpha %g beta %g round %d", l->name, (int)m.m, (int)m.n, (int)m.k,
             m.a.type, m.b.type, (int)m.a.row_stride, (int)m.a.col_stride, (int)m.b.row_stride, (int)m.b.col_stride, m.alpha, m.beta, m.round_bf16);
    truth_of(&m, c0, truth);
    m.c = naive;
    spec.matmul(&m, 1);
    m.c = fast;
    l->k.matmul(&m, 1);
    bool good = as_good(fast, naive, truth, n, what) && block_margins_kept(fast, n);
    for (int64_t i = 0; i < m.m; i++) /* between the rows */
        good = good && !memcmp(fast + i * m.ldc + m.n, c0 + i * m.ldc + m.n, (size_t)(m.ldc - m.n) * sizeof *fast);
    block_free(c0), block_free(naive), block_free(fast), free(truth);
    return good;
}

/* Sums of these parts of the depth (F32 factors): right, and the same bits in one call and part by part. */
__attribute__((unused)) static void check_cuts(const struct level *l, int64_t rows, int64_t cols, enum lay b_lay, bool round_bf16, const int64_t *cuts, int n_cuts)
{
    int64_t depth = cuts[n_cuts];
    struct factor a = factor_new(rows, depth, COLUMNS, DTYPE_F32, 1), b = factor_new(depth, cols, b_lay, DTYPE_F32, 2);
    float *whole = block_new(rows * cols, 3), *parts = block_copy(whole, rows * cols);
    struct matmul m = {rows, cols, depth, a.mat, b.mat, whole, cols, 1, 1, round_bf16, cuts, n_cuts};
    ok(product_agrees(l, m), "%s: %dx%d summed in %d parts", l->name, (int)rows, (int)cols, n_cuts);
    l->k.matmul(&m, 1);
    m.c = parts;
    for (int i = 0; i < n_cuts; i++) {
        const int64_t part[] = {0, cuts[i + 1] - cuts[i]};
        m.k = part[1], m.cuts = part, m.n_cuts = 1;
        m.a.data = (const float *)a.mat.data + cuts[i] * a.mat.col_stride;
        m.b.data = (const float *)b.mat.data + cuts[i] * b.mat.row_stride;
        l->k.matmul(&m, 1);
    }
    ok(!memcmp(whole, parts, (size_t)(rows * cols) * sizeof *whole), "%s: %dx%d, the same bits part by part", l->name, (int)rows, (int)cols);
    block_free(whole), block_free(parts), free(a.memory), free(b.memory);
}

/* Rows first .. first + count - 1 of the product alone must equal those of the whole. */
static bool rows_equal(const struct level *l, const struct matmul *whole, int64_t first, int64_t count)
{
    struct matmul part = *whole;
    float *c = block_new(count * whole->ldc, 9);
    part.m = count;
    part.a.data = (const char *)whole->a.data + first * whole->a.row_stride * (int64_t)dtype_size(whole->a.type);
    part.c = c;
    l->k.matmul(&part, 1);
    bool same = true;
    for (int64_t i = 0; i < count; i++)
        same = same && !memcmp(c + i * part.ldc, whole->c + (first + i) * whole->ldc, (size_t)part.n * sizeof *c);
    block_free(c);
    return same;
}

/* The bits of a product do not depend on the threads, nor those of a row on the other rows, many or few; step: of the row counts tried. */
__attribute__((unused)) static void check_bits(const struct level *l, struct matmul m, enum lay b_lay, int step)
{
    struct factor a = factor_new(m.m, m.k, ROWS, DTYPE_F32, 1), b = factor_new(m.k, m.n, b_lay, m.b.type, 2);
    int64_t count = m.m * m.n, rows = m.m;
    float *c = block_new(count, 4), *again = block_new(count, 5);
    bool same = true;
    m.a = a.mat, m.b = b.mat, m.c = c, m.ldc = m.n, m.alpha = 1;
    omp_set_num_threads(1);
    l->k.matmul(&m, 1);
    for (int threads = 2; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        m.c = again;
        l->k.matmul(&m, 1);
        same = same && !memcmp(c, again, (size_t)count * sizeof *c);
    }
    omp_set_num_threads(1);
    ok(same, "%s: same bits for 1, 2 and 3 threads (B lay %d, %d columns)", l->name, b_lay, (int)m.n);
    m.c = c;
    ok(rows_equal(l, &m, 0, 17) && rows_equal(l, &m, 5, rows - 5) && rows_equal(l, &m, 31, 23), "%s: many rows, same bits in any company", l->name);
    m.m = 16;
    l->k.matmul(&m, 1);
    same = true;
    for (int64_t first = 0; first < 16; first++)
        for (int64_t n = 1; first + n <= 16; n += step)
            same = same && rows_equal(l, &m, first, n);
    ok(same, "%s: few rows, same bits in any company", l->name);
    block_free(c), block_free(again), free(a.memory), free(b.memory);
}

/* Products side by side, each a sum of terms, have the bits of the terms one after another. Depths are shared, or not. */
__attribute__((unused)) static void check_terms(const struct level *l, int64_t rows, bool same_depths, bool round)
{
    enum { N = 3, TERMS = 3 };
    static const int64_t cols[N] = {33, 16, 130}, depths[1 + TERMS] = {300, 16, 0, 700};
    struct factor a[N][1 + TERMS], b[N][1 + TERMS];
    struct matmul_term more[N][TERMS];
    struct matmul m[N];
    float *alone[N];
    bool same = true;
    for (int i = 0; i < N; i++) {
        for (int t = 0; t <= TERMS; t++) {
            int64_t k = depths[t] + (same_depths ? 0 : i);
            a[i][t] = t || !i ? factor_new(rows, k + 1, t == 3 ? COLUMNS : ROWS, DTYPE_F32, (uint64_t)(2 + t)) : (struct factor){NULL, a[0][0].mat};
            b[i][t] = factor_new(k + 1, cols[i], t == 1 ? ROWS : COLUMNS, t ? DTYPE_F32 : DTYPE_BF16, (uint64_t)(9 + t));
            if (t)
                more[i][t - 1] = (struct matmul_term){k, a[i][t].mat, b[i][t].mat, 0.5f * (float)t};
        }
        alone[i] = block_new(rows * cols[i], 3);
        m[i] = (struct matmul){rows, cols[i], depths[0] + (same_depths ? 0 : i), a[i][0].mat, b[i][0].mat, alone[i], cols[i], 1, 1, round,
                               .more = more[i], .n_more = TERMS};
        if (!same_depths && i)
            m[i].k = depths[0];
        for (int t = 0; t <= TERMS; t++) {
            struct matmul one = matmul_alone(&m[i], t);
            l->k.matmul(&one, 1);
        }
        m[i].c = block_new(rows * cols[i], 3);
    }
    l->k.matmul(m, N);
    for (int i = 0; i < N; i++) {
        same = same && !memcmp(m[i].c, alone[i], (size_t)(rows * cols[i]) * sizeof(float));
        block_free(m[i].c), block_free(alone[i]);
        for (int t = 0; t <= TERMS; t++)
            free(a[i][t].memory), free(b[i][t].memory);
    }
    ok(same, "matmul %s: %d rows, sums of terms have the bits of one after another", l->name, (int)rows);
}

#endif
