#include "quantize/cholesky.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"

enum { ROWS = 6, COLS = 8, BLOCK = 96 }; /* of a tile, and of the columns that are eliminated together */

typedef double vec __attribute__((vector_size(32)));

/* c (rows, COLS) = a (rows, k) b (k, COLS), c and b dense. */
static inline __attribute__((always_inline)) void tile_of(double *c, const double *a, int64_t lda, const double *b, int64_t k, int rows)
{
    vec sum[ROWS][2];
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = (vec){0};
    for (int64_t i = 0; i < k; i++) {
        vec b0, b1;
        memcpy(&b0, b + i * COLS, sizeof b0);
        memcpy(&b1, b + i * COLS + 4, sizeof b1);
        for (int r = 0; r < rows; r++) {
            double x = a[r * lda + i];
            sum[r][0] += b0 * x;
            sum[r][1] += b1 * x;
        }
    }
    memcpy(c, sum, sizeof(double) * COLS * (size_t)rows);
}

typedef void tile_fn(double *c, const double *a, int64_t lda, const double *b, int64_t k, int rows);

static void tile_plain(double *c, const double *a, int64_t lda, const double *b, int64_t k, int rows)
{
    if (rows == ROWS)
        tile_of(c, a, lda, b, k, ROWS);
    else
        for (int r = 0; r < rows; r++)
            tile_of(c + r * COLS, a + r * lda, lda, b, k, 1);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void tile_avx2(double *c, const double *a, int64_t lda, const double *b, int64_t k, int rows)
{
    if (rows == ROWS)
        tile_of(c, a, lda, b, k, ROWS);
    else
        for (int r = 0; r < rows; r++)
            tile_of(c + r * COLS, a + r * lda, lda, b, k, 1);
}
#endif

static tile_fn *choose_tile(void)
{
#if defined(__x86_64__)
    struct err e = ERR_INIT;
    unsigned use;
    if (!cpu_select(&use, &e) && (use & CPU_LEVEL_AVX2) == CPU_LEVEL_AVX2)
        return tile_avx2;
#endif
    return tile_plain;
}

/* A part of the matrix that is worked on: columns s .. e - 1, of which `packed` holds k rows in tiles of COLS columns. */
struct panel {
    double *h;
    int64_t n, s, e;
    double *packed;
    tile_fn *tile;
};

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The block on the diagonal becomes its R. */
static int factor_diagonal(const struct panel *p)
{
    double *h = p->h, held[BLOCK];
    int64_t n = p->n;
    for (int64_t j = p->e - 1; j >= p->s; j--) {
        double d = h[j * n + j];
        if (!(d > 0) || !isfinite(d))
            return -1;
        d = sqrt(d);
        h[j * n + j] = d;
        for (int64_t i = p->s; i < j; i++)
            h[i * n + j] /= d;
        for (int64_t i = p->s; i < j; i++)
            held[i - p->s] = h[i * n + j];
        for (int64_t i = p->s; i < j; i++)
#pragma omp simd
            for (int64_t c = i; c < j; c++)
                h[i * n + c] -= h[i * n + j] * held[c - p->s];
    }
    return 0;
}

/* Rows above the block: P R_block^T = H. `packed` holds the block transposed. */
static void factor_above(const struct panel *p)
{
    int64_t n = p->n, width = p->e - p->s;
    for (int64_t j = 0; j < width; j++)
        for (int64_t c = 0; c <= j; c++)
            p->packed[j * BLOCK + c] = p->h[(p->s + c) * n + p->s + j];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < p->s; i++) {
        double *x = p->h + i * n + p->s;
        for (int64_t j = width - 1; j >= 0; j--) {
            const double *r = p->packed + j * BLOCK;
            x[j] /= r[j];
#pragma omp simd
            for (int64_t c = 0; c < j; c++)
                x[c] -= x[j] * r[c];
        }
    }
}

/* Tile t, of columns t * COLS ..., holds P transposed: element (k, j) is P[t * COLS + j][s + k], 0 beyond the last row. */
static void pack_transposed(const struct panel *p)
{
    int64_t k = p->e - p->s;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < (p->s + COLS - 1) / COLS; t++)
        for (int64_t j = 0; j < COLS; j++)
            for (int64_t i = 0; i < k; i++)
                p->packed[(t * k + i) * COLS + j] = t * COLS + j < p->s ? p->h[(t * COLS + j) * p->n + p->s + i] : 0;
}

/* H -= P P^T to the left of the block, on and above the diagonal. */
static void update_left(const struct panel *p)
{
    int64_t k = p->e - p->s, n = p->n;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i0 = 0; i0 < p->s; i0 += ROWS) {
        int rows = (int)min_of(ROWS, p->s - i0);
        double c[ROWS * COLS];
        for (int64_t t = i0 / COLS; t * COLS < p->s; t++) {
            p->tile(c, p->h + i0 * n + p->s, n, p->packed + t * k * COLS, k, rows);
            for (int r = 0; r < rows; r++)
                for (int64_t j = t * COLS; j < min_of(t * COLS + COLS, p->s); j++)
                    if (j >= i0 + r)
                        p->h[(i0 + r) * n + j] -= c[r * COLS + j - t * COLS];
        }
    }
}

static void invert_diagonal(const struct panel *p)
{
    double *h = p->h;
    int64_t n = p->n;
    for (int64_t j = p->s; j < p->e; j++) {
        double d = 1 / h[j * n + j];
        for (int64_t i = p->s; i < j; i++) { /* row by row from the top: what lies below in the column is still R's */
            double sum = 0;
            for (int64_t c = i; c < j; c++)
                sum += h[i * n + c] * h[c * n + j];
            h[i * n + j] = -sum * d;
        }
        h[j * n + j] = d;
    }
}

/* Tile t, of the block's columns s + t * COLS ..., holds R U_block: element (i, j) for row i above the block. */
static void pack_product(const struct panel *p)
{
    int64_t width = p->e - p->s, n = p->n;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < p->s; i++) {
        double sum[BLOCK] = {0};
        for (int64_t c = 0; c < width; c++) {
            const double *u = p->h + (p->s + c) * n + p->s;
            double x = p->h[i * n + p->s + c];
#pragma omp simd
            for (int64_t j = c; j < width; j++)
                sum[j] += x * u[j];
        }
        for (int64_t j = 0; j < (width + COLS - 1) / COLS * COLS; j++)
            p->packed[(j / COLS * p->s + i) * COLS + j % COLS] = sum[j];
    }
}

/* U above the block = - U (left of it) times what is packed. */
static void invert_above(const struct panel *p)
{
    int64_t n = p->n;
#pragma omp parallel for schedule(dynamic)
    for (int64_t i0 = 0; i0 < p->s; i0 += ROWS) {
        int rows = (int)min_of(ROWS, p->s - i0);
        double c[ROWS * COLS];
        for (int64_t j0 = p->s; j0 < p->e; j0 += COLS) {
            const double *b = p->packed + (j0 - p->s) * p->s;
            int64_t behind = i0 + rows; /* the triangle at the head of the rows comes element by element */
            p->tile(c, p->h + i0 * n + behind, n, b + behind * COLS, p->s - behind, rows);
            for (int r = 0; r < rows; r++)
                for (int64_t j = j0; j < min_of(j0 + COLS, p->e); j++) {
                    double sum = c[r * COLS + j - j0];
                    for (int64_t i = i0 + r; i < behind; i++)
                        sum += p->h[(i0 + r) * n + i] * b[i * COLS + j - j0];
                    p->h[(i0 + r) * n + j] = -sum;
                }
        }
    }
}

static int factor(struct panel *p)
{
    for (p->e = p->n; p->e > 0; p->e = p->s) {
        p->s = p->e > BLOCK ? p->e - BLOCK : 0;
        if (factor_diagonal(p))
            return -1;
        factor_above(p);
        pack_transposed(p);
        update_left(p);
    }
    return 0;
}

static void invert(struct panel *p)
{
    for (p->s = 0; p->s < p->n; p->s = p->e) {
        p->e = min_of(p->s + BLOCK, p->n);
        invert_diagonal(p);
        pack_product(p);
        invert_above(p);
    }
}

int cholesky_inverse_factor(double *h, int64_t n)
{
    struct panel p = {h, n, .tile = choose_tile()};
    p.packed = mem_array(NULL, (size_t)(n + BLOCK) * BLOCK, sizeof *p.packed);
    int rc = factor(&p);
    if (!rc)
        invert(&p);
    free(p.packed);
    return rc;
}
