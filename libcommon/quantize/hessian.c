#include "quantize/hessian.h"

#include <stdlib.h>

#include "base/mem.h"

enum { PANEL = 128, LIST = 16 }; /* rows of H multiplied together; panels in one list */

void hessian_init(struct hessian *h, int64_t n)
{
    *h = (struct hessian){.n = n};
    h->at = mem_zalloc((size_t)n, (size_t)n * sizeof *h->at);
    h->part = mem_array(NULL, (size_t)n * PANEL, LIST * sizeof *h->part);
}

void hessian_release(struct hessian *h)
{
    free(h->at);
    free(h->part);
    *h = (struct hessian){0};
}

int64_t hessian_bytes(int64_t n)
{
    return n * n * (int64_t)sizeof(double) + n * PANEL * LIST * (int64_t)sizeof(float);
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows first .. first + count * PANEL - 1 of H, from the diagonal on, += what lies in the scratch. */
static void gather(struct hessian *h, const struct matmul *list, int count, int64_t first)
{
    int64_t end = min_of(first + (int64_t)count * PANEL, h->n);
#pragma omp parallel for schedule(dynamic, 8)
    for (int64_t i = first; i < end; i++) {
        const struct matmul *m = &list[(i - first) / PANEL];
        int64_t from = h->n - m->n;
        const float *sum = m->c + (i - from) * m->ldc - from;
        double *to = h->at + i * h->n;
#pragma omp simd
        for (int64_t j = i; j < h->n; j++)
            to[j] += (double)sum[j];
    }
}

static void add_part(struct hessian *h, const struct kernels *k, const float *x, int64_t rows)
{
    int64_t n = h->n;
    for (int64_t first = 0; first < n; first += (int64_t)PANEL * LIST) {
        struct matmul list[LIST];
        int count = 0;
        for (int64_t s = first; s < n && count < LIST; s += PANEL, count++)
            list[count] = (struct matmul){min_of(PANEL, n - s), n - s, rows, {x + s, DTYPE_F32, 1, n}, {x + s, DTYPE_F32, n, 1},
                                          h->part + (int64_t)count * PANEL * n, n - s, 1, 0, false};
        k->matmul(list, count);
        gather(h, list, count, first);
    }
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
