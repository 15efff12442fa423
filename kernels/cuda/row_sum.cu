#include "kernels/cuda/row_sum.h"

#include <stdlib.h>

#define THREADS 128

static int64_t part_count(const struct row_sum *s)
{
    return s->cuts ? s->n_cuts : 1;
}

static int64_t part_edge(const struct row_sum *s, int64_t part, int64_t n)
{
    return s->cuts ? s->cuts[part] * s->times : part ? n : 0;
}

bool row_pieces_make(struct row_pieces *p, const struct row_sum *s, int64_t n, int64_t c)
{
    int64_t count = 0, at = 0;
    for (int64_t i = 0; i < part_count(s); i++)
        count += (part_edge(s, i + 1, n) - part_edge(s, i, n) + ROW_PIECE - 1) / ROW_PIECE;
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
        for (int64_t from = part_edge(s, i, n), to = part_edge(s, i + 1, n); from < to; from += ROW_PIECE)
            rows[at++] = {from, from + ROW_PIECE < to ? from + ROW_PIECE : to, i};
    p->count = (int)count;
    p->rows = (const struct row_piece *)cuda_upload(rows, (size_t)count * sizeof *rows);
    p->partial = (float *)cuda_scratch(CUDA_SCRATCH_ROWS, (size_t)(count * c) * sizeof(float));
    free(rows);
    return p->rows && p->partial;
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

void row_sum_finish(const struct row_pieces *p, const struct row_sum *s, int64_t c)
{
    LAUNCH(finish_kernel, (unsigned)((c + THREADS - 1) / THREADS), THREADS, 0, s->to, p->partial, p->rows, p->count, c);
}
