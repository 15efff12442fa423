/* Operations on rows: the gradient of a bias, rotation, tables of rows, dropout. */
#include "kernels/cuda/philox.h"
#include "kernels/cuda/row_sum.h"
#include "kernels/cuda/stored.h"
#include "kernels/cuda/table.h"
#include "kernels/cuda/wide.h"

#define THREADS 256

static void bias_backward(const struct row_sum *dbias, const float *dy, int64_t n, int64_t c)
{
    row_sum_add(dbias, dy, c, NULL, 0, NULL, n, c);
}

/* ---- rotation ---- */

/* A thread turns W neighbouring pairs of one head. */
template <int W>
static __global__ void rope_kernel(float *x, int64_t stride, const float *cos_sin, const int32_t *pos, bool inverse, int64_t n, int heads, int half)
{
    int64_t each = half / W, all = n * heads * each;
    for (int64_t at = grid_thread(); at < all; at += grid_threads()) {
        int64_t j = at % each * W, h = at / each % heads, i = at / each / heads;
        float *lo = x + i * stride + h * 2 * half + j, *hi = lo + half;
        const float *t = cos_sin + (int64_t)pos[i] * 2 * half + 2 * j;
        struct floats<W> a = load<W>(lo), b = load<W>(hi), u, v;
        for (int e = 0; e < W; e++) {
            float cosine = t[2 * e], sine = inverse ? -t[2 * e + 1] : t[2 * e + 1];
            u.at[e] = a.at[e] * cosine - b.at[e] * sine;
            v.at[e] = b.at[e] * cosine + a.at[e] * sine;
        }
        store<W>(lo, u);
        store<W>(hi, v);
    }
}

static void rope(float *x, int64_t stride, const float *cos_sin, const int32_t *pos, bool inverse, int64_t n, int heads, int head_dim)
{
    int half = head_dim / 2;
    int64_t pairs = n * heads * half;
    if (pairs <= 0)
        return;
    if (wide_pointer(x) && stride % 4 == 0 && half % 4 == 0)
        LAUNCH(rope_kernel<4>, grid_for(pairs / 4, THREADS), THREADS, 0, x, stride, cos_sin, pos, inverse, n, heads, half);
    else
        LAUNCH(rope_kernel<1>, grid_for(pairs, THREADS), THREADS, 0, x, stride, cos_sin, pos, inverse, n, heads, half);
}

/* ---- tables of rows ---- */

/* out row i = x row (from ? from[i] : i), at row (to ? to[i] : i) */
template <int W> static __global__ void move_rows_kernel(float *out, const float *x, const int32_t *from, const int32_t *to, int64_t n, int64_t c)
{
    int64_t each = c / W;
    for (int64_t at = grid_thread(); at < n * each; at += grid_threads()) {
        int64_t i = at / each, j = at % each * W;
        store<W>(out + (to ? to[i] : i) * c + j, load<W>(x + (from ? from[i] : i) * c + j));
    }
}

static void move_rows(float *out, const float *x, const int32_t *from, const int32_t *to, int64_t n, int64_t c)
{
    if (n * c <= 0)
        return;
    if (wide_pointer(out) && wide_pointer(x) && c % 4 == 0)
        LAUNCH(move_rows_kernel<4>, grid_for(n * c / 4, THREADS), THREADS, 0, out, x, from, to, n, c);
    else
        LAUNCH(move_rows_kernel<1>, grid_for(n * c, THREADS), THREADS, 0, out, x, from, to, n, c);
}

static void gather_rows(float *out, const float *x, const int32_t *rows, int64_t n, int64_t c)
{
    move_rows(out, x, rows, NULL, n, c);
}

static void scatter_rows(float *x, const float *in, const int32_t *rows, int64_t n, int64_t c)
{
    move_rows(x, in, NULL, rows, n, c);
}

static __global__ void embedding_kernel(float *out, const void *table, enum dtype type, int64_t row_stride, int64_t col_stride, const int32_t *ids, int64_t n,
                                        int64_t c)
{
    for (int64_t at = grid_thread(); at < n * c; at += grid_threads())
        out[at] = stored_at(table, type, ids[at / c] * row_stride + at % c * col_stride);
}

static void embedding(float *out, const struct mat *table, const int32_t *ids, int64_t n, int64_t c)
{
    if (n * c > 0)
        LAUNCH(embedding_kernel, grid_for(n * c, THREADS), THREADS, 0, out, table->data, table->type, table->row_stride, table->col_stride, ids, n, c);
}

/* A block for each row; the first of a token's rows adds them all, in order. */
static __global__ void __launch_bounds__(THREADS) embedding_back_kernel(float *dtable, const float *dout, const int32_t *ids, int64_t n, int64_t c)
{
    __shared__ int same[THREADS];
    int64_t i = blockIdx.x;
    int32_t id = ids[i];
    for (int64_t at = 0; at < i; at += THREADS) {
        int64_t j = at + threadIdx.x;
        if (__syncthreads_or(j < i && ids[j] == id))
            return;
    }
    for (int64_t at = i; at < n; at += THREADS) {
        int64_t j = at + threadIdx.x;
        int hit = j < n && ids[j] == id;
        __syncthreads(); /* `same` may still be read */
        same[threadIdx.x] = hit;
        if (!__syncthreads_or(hit))
            continue;
        for (int k = 0; k < THREADS; k++)
            for (int64_t column = threadIdx.x; same[k] && column < c; column += THREADS)
                dtable[id * c + column] += dout[(at + k) * c + column];
    }
}

static void embedding_backward(float *dtable, const float *dout, const int32_t *ids, int64_t n, int64_t c, int64_t v)
{
    (void)v;
    if (n > 0)
        LAUNCH(embedding_back_kernel, (unsigned)n, THREADS, 0, dtable, dout, ids, n, c);
}

/* ---- dropout ---- */

/* Draws come four from a counter: a thread has the elements whose draws those are. */
static __global__ void dropout_kernel(float *y, const float *x, float p, uint64_t seed, uint64_t stream, int64_t first, int64_t count)
{
    float keep = 1 / (1 - p);
    for (int64_t block = first / 4 + grid_thread(); block * 4 < first + count; block += grid_threads()) {
        uint32_t words[4];
        philox(words, seed, stream, (uint64_t)block);
        for (int e = 0; e < 4; e++) {
            int64_t i = block * 4 + e - first;
            if (i >= 0 && i < count)
                y[i] = philox_uniform(words[e]) >= p ? x[i] * keep : 0;
        }
    }
}

static void dropout(float *y, const float *x, float p, uint64_t seed, uint64_t stream, int64_t row0, int64_t n, int64_t c)
{
    if (n * c > 0)
        LAUNCH(dropout_kernel, grid_for(n * c / 4 + 2, THREADS), THREADS, 0, y, x, p, seed, stream, row0 * c, n * c);
}

void cuda_fill_rows(struct kernels *k)
{
    k->bias_backward = bias_backward;
    k->rope = rope;
    k->embedding = embedding;
    k->embedding_backward = embedding_backward;
    k->gather_rows = gather_rows;
    k->scatter_rows = scatter_rows;
    k->dropout = dropout;
}
