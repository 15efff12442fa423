#include "kernels/cuda/row_sum.h"

#include <stdlib.h>

#define THREADS 128
#define PIECE 512 /* rows */
#define COLUMNS 32
#define LANES 8   /* sums of every 8th row, side by side */

struct row_piece {
    int64_t begin, end;
    int64_t part;
};

struct row_pieces {
    int count;
    const struct row_piece *rows; /* device */
    float *partial;               /* device, (count, c) */
};

/* What is summed: dy, times x and the row's factor where there are these. */
struct summed {
    const float *dy, *x, *rstd;
    int64_t dy_stride, x_stride, c;
};

static int64_t part_count(const struct row_sum *s)
{
    return s->cuts ? s->n_cuts : 1;
}

static int64_t part_edge(const struct row_sum *s, int64_t part, int64_t n)
{
    return s->cuts ? s->cuts[part] * s->times : part ? n : 0;
}

/* False: nothing to sum, or an error that stays. */
static bool pieces_make(struct row_pieces *p, const struct row_sum *s, int64_t n, int64_t c)
{
    int64_t count = 0, at = 0;
    for (int64_t i = 0; i < part_count(s); i++)
        count += (part_edge(s, i + 1, n) - part_edge(s, i, n) + PIECE - 1) / PIECE;
    if (!count || c <= 0)
        return false;
    if (count > 65535) {
        cuda_failed("a sum over %lld rows in %lld parts is longer than a grid", (long long)n, (long long)part_count(s));
        return false;
    }
    struct row_piece *rows = (struct row_piece *)malloc((size_t)count * sizeof *rows);
    if (!rows) {
        cuda_failed("cannot get memory for %lld rows", (long long)count);
        return false;
    }
    for (int64_t i = 0; i < part_count(s); i++)
        for (int64_t from = part_edge(s, i, n), to = part_edge(s, i + 1, n); from < to; from += PIECE)
            rows[at++] = {from, from + PIECE < to ? from + PIECE : to, i};
    p->count = (int)count;
    p->rows = (const struct row_piece *)cuda_upload(rows, (size_t)count * sizeof *rows);
    p->partial = (float *)cuda_scratch(CUDA_SCRATCH_ROWS, (size_t)(count * c) * sizeof(float));
    free(rows);
    return p->rows && p->partial;
}

/* The piece blockIdx.y of 32 columns: LANES sums, added in order. */
static __global__ void __launch_bounds__(COLUMNS *LANES) piece_kernel(float *partial, const struct row_piece *rows, struct summed o)
{
    __shared__ float sums[LANES][COLUMNS];
    int64_t j = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
    struct row_piece piece = rows[blockIdx.y];
    float sum = 0;
    for (int64_t i = piece.begin + threadIdx.y; j < o.c && i < piece.end; i += LANES) {
        float dy = o.dy[i * o.dy_stride + j];
        sum += o.x ? dy * o.x[i * o.x_stride + j] * o.rstd[i] : dy;
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && j < o.c) {
        for (int k = 1; k < LANES; k++)
            sum += sums[k][threadIdx.x];
        partial[blockIdx.y * o.c + j] = sum;
    }
}

static __global__ void finish_kernel(float *to, const float *partial, const struct row_piece *rows, int count, int64_t c)
{
    int64_t j = grid_thread();
    if (j >= c)
        return;
    float sum = 0, value = to[j];
    for (int i = 0; i < count; i++) {
        if (i > 0 && rows[i].part != rows[i - 1].part) {
            value += sum;
            sum = 0;
        }
        sum += partial[i * c + j];
    }
    to[j] = value + sum;
}

void row_sum_add(const struct row_sum *s, const float *dy, int64_t dy_stride, const float *x, int64_t x_stride, const float *rstd, int64_t n, int64_t c)
{
    struct summed o = {dy, x, rstd, dy_stride, x_stride, c};
    struct row_pieces p;
    if (!pieces_make(&p, s, n, c))
        return;
    LAUNCH(piece_kernel, dim3((unsigned)((c + COLUMNS - 1) / COLUMNS), (unsigned)p.count), dim3(COLUMNS, LANES), 0, p.partial, p.rows, o);
    LAUNCH(finish_kernel, (unsigned)((c + THREADS - 1) / THREADS), THREADS, 0, s->to, p.partial, p.rows, p.count, c);
}
