#include "quantize/hessian.h"

#include <stdlib.h>

#include "base/mem.h"

enum {
    LEAF = 144,  /* a block on the diagonal that is not divided further */
    STRIP = 512, /* rows of a product at most */
    HELD = 1024, /* rows of H in the scratch */
    LIST = 32,   /* products that go out together */
    PANEL = 128, /* rows of H in f32 for hessian_energy */
};

int64_t hessian_products(int64_t n)
{
    return n * HELD;
}

void hessian_init(struct hessian *h, int64_t n, float *there)
{
    *h = (struct hessian){.n = n, .there = there};
    h->at = mem_zalloc((size_t)n, (size_t)n * sizeof *h->at);
    h->part = mem_array(NULL, (size_t)n, HELD * sizeof *h->part);
}

void hessian_release(struct hessian *h)
{
    free(h->at);
    free(h->part);
    *h = (struct hessian){0};
}

int64_t hessian_bytes(int64_t n)
{
    return n * n * (int64_t)sizeof(double) + n * HELD * (int64_t)sizeof(float);
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Products under way: blocks of H on and above the diagonal. */
struct blocks {
    struct hessian *h;
    const struct kernels *k;
    const float *x;
    int64_t rows;
    struct matmul list[LIST];
    int64_t row[LIST], col[LIST]; /* where they belong */
    int count;
    int64_t used;                 /* of the scratch */
};

static float *made_in(const struct hessian *h)
{
    return h->there ? h->there : h->part;
}

static void blocks_run(struct blocks *b)
{
    float *made = made_in(b->h);
    b->k->matmul(b->list, b->count);
    if (made != b->h->part)
        b->k->copy_out(b->h->part, made, (size_t)b->used * sizeof *made);
    for (int i = 0; i < b->count; i++) {
        const struct matmul *m = &b->list[i];
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < m->m; r++) {
            double *to = b->h->at + (b->row[i] + r) * b->h->n + b->col[i];
            const float *sum = b->h->part + (m->c - made) + r * m->ldc;
#pragma omp simd
            for (int64_t c = 0; c < m->n; c++)
                to[c] += (double)sum[c];
        }
    }
    b->count = 0;
    b->used = 0;
}

static void add_block(struct blocks *b, int64_t row, int64_t m, int64_t col, int64_t n)
{
    int64_t width = b->h->n;
    if (b->count == LIST || b->used + m * n > HELD * width)
        blocks_run(b);
    b->list[b->count] = (struct matmul){m, n, b->rows, {b->x + row, DTYPE_F32, 1, width}, {b->x + col, DTYPE_F32, width, 1}, made_in(b->h) + b->used, n, 1, 0, false};
    b->row[b->count] = row, b->col[b->count++] = col;
    b->used += m * n;
}

/* The triangle of rows s .. e - 1: a block, or what lies right of its first half, and two triangles. */
static void add_triangle(struct blocks *b, int64_t s, int64_t e)
{
    int64_t middle = s + (e - s + 1) / 2;
    if (e - s <= LEAF) {
        add_block(b, s, e - s, s, e - s);
        return;
    }
    for (int64_t i = s; i < middle; i += STRIP)
        add_block(b, i, min_of(STRIP, middle - i), middle, e - middle);
    add_triangle(b, s, middle);
    add_triangle(b, middle, e);
}

static void add_part(struct hessian *h, const struct kernels *k, const float *x, int64_t rows)
{
    struct blocks b = {.h = h, .k = k, .x = x, .rows = rows};
    add_triangle(&b, 0, h->n);
    blocks_run(&b);
}

void hessian_add(struct hessian *h, const struct kernels *k, const float *x, int64_t rows)
{
    for (int64_t i = 0; i < rows; i += HESSIAN_ROWS)
        add_part(h, k, x + i * h->n, min_of(HESSIAN_ROWS, rows - i));
    h->rows += rows;
}

void hessian_finish(struct hessian *h)
{
    free(h->part);
    h->part = NULL;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < h->n; i++)
        for (int64_t j = 0; j < i; j++)
            h->at[i * h->n + j] = h->at[j * h->n + i];
}

/* Rows s .. s + rows - 1 of H in f32, from its lower half. */
static void panel_f32(float *to, const double *h, const double *diagonal, int64_t s, int64_t rows, int64_t n)
{
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < rows; i++)
            to[i * n + j] = (float)(s + i == j ? diagonal[j] : s + i > j ? h[(s + i) * n + j] : h[j * n + s + i]);
}

double hessian_energy(const struct kernels *k, const double *h, const double *diagonal, const float *d, int64_t rows, int64_t n)
{
    float *panel = mem_array(NULL, (size_t)n, PANEL * sizeof *panel), *dh = mem_array(NULL, (size_t)rows, PANEL * sizeof *dh);
    double *sum = mem_zalloc((size_t)rows, sizeof *sum), all = 0;
    for (int64_t s = 0; s < n; s += PANEL) {
        int64_t width = min_of(PANEL, n - s);
        panel_f32(panel, h, diagonal, s, width, n);
        struct matmul m = {rows, width, n, {d, DTYPE_F32, n, 1}, {panel, DTYPE_F32, 1, n}, dh, width, 1, 0, false};
        k->matmul(&m, 1);
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < width; j++)
                sum[r] += (double)dh[r * width + j] * (double)d[r * n + s + j];
    }
    for (int64_t r = 0; r < rows; r++)
        all += sum[r];
    free(panel);
    free(dh);
    free(sum);
    return all > 0 ? all : 0;
}
