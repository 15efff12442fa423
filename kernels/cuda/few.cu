/* Products of few rows: which kernel takes which (few.h), and the plain one, for f32, for weights at odd addresses, and for quantized weights whose groups are no whole
 * steps of the others. */
#include "kernels/cuda/quantized.h"

extern "C" {
#include "kernels/cuda/few.h"
}

/* A warp makes OUTPUTS sums for each row (two, or one of many rows): lane i takes the elements 8i .. 8i + 7 of every 256, one after another, and the lanes' sums are
 * joined last. The rows of A lie in shared memory, CHUNK elements at a time. */
#define WARPS 4
#define CHUNK 512
#define EACH 8
#define LEAST_OUTPUTS 64 /* of a tile of the others */

static __device__ __host__ constexpr int outputs_of(int rows)
{
    return rows > 4 ? 1 : 2;
}

struct plain {
    const void *a;
    enum dtype a_type;
    int64_t lda, n, k, ldc;
    float *c, alpha;
    int m;
    bool add, round, round_weights;
};

/* Where weights come from: elements k .. k + 7 of output j, zeros from `end` on. */
struct stored {
    const void *w;
    enum dtype type;
    int64_t ld;
    bool aligned; /* every group of 8 to 16 bytes */
};

static __device__ __forceinline__ void eight_of(float to[EACH], const struct stored &d, int64_t j, int64_t k, int64_t end)
{
    if (d.aligned && d.type != DTYPE_F32 && k + EACH <= end) {
        uint4 words = *(const uint4 *)((const uint16_t *)d.w + j * d.ld + k);
        const uint32_t w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            uint16_t h = (uint16_t)(w[e / 2] >> 16 * (e % 2));
            to[e] = d.type == DTYPE_BF16 ? from_bf16(h) : from_f16(h);
        }
        return;
    }
#pragma unroll
    for (int e = 0; e < EACH; e++)
        to[e] = k + e < end ? stored_at(d.w, d.type, j * d.ld + k + e) : 0;
}

static __device__ __forceinline__ void eight_of(float to[EACH], const struct quantized_source &p, int64_t j, int64_t k, int64_t end)
{
#pragma unroll
    for (int e = 0; e < EACH; e++)
        to[e] = k + e < end ? quantized_value(&p, j, k + e) : 0;
}

template <int M, class Weights> static __global__ void __launch_bounds__(32 * WARPS, 4) few_plain_kernel(struct plain o, Weights weights)
{
    const int OUTPUTS = outputs_of(M);
    __shared__ float rows[M][CHUNK];
    int lane = threadIdx.x % 32;
    int64_t first = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * OUTPUTS;
    float sum[OUTPUTS][M];
    for (int r = 0; r < OUTPUTS; r++)
        for (int i = 0; i < M; i++)
            sum[r][i] = 0;
    for (int64_t at = 0; at < o.k; at += CHUNK) {
        __syncthreads(); /* the chunk before is done with */
        for (int64_t e = threadIdx.x; e < M * CHUNK; e += 32 * WARPS) {
            int64_t i = e / CHUNK, k = at + e % CHUNK;
            float x = i < o.m && k < o.k ? stored_at(o.a, o.a_type, i * o.lda + k) : 0;
            rows[i][e % CHUNK] = o.round ? from_bf16(round_to_bf16(x)) : x;
        }
        __syncthreads();
        int64_t end = o.k - at < CHUNK ? o.k - at : CHUNK;
        for (int64_t k = EACH * lane; k < end; k += EACH * 32)
#pragma unroll
            for (int r = 0; r < OUTPUTS; r++) {
                float w[EACH];
                if (first + r >= o.n)
                    continue;
                eight_of(w, weights, first + r, at + k, o.k);
#pragma unroll
                for (int e = 0; e < EACH; e++) {
                    float x = o.round_weights ? from_bf16(round_to_bf16(w[e])) : w[e];
#pragma unroll
                    for (int i = 0; i < M; i++)
                        sum[r][i] = fmaf(rows[i][k + e], x, sum[r][i]);
                }
            }
    }
#pragma unroll
    for (int r = 0; r < OUTPUTS; r++)
#pragma unroll
        for (int i = 0; i < M; i++) {
            float s = o.alpha * warp_sum(sum[r][i]);
            float *c = o.c + i * o.ldc + first + r;
            if (lane == 0 && first + r < o.n && i < o.m)
                *c = o.add ? *c + s : s;
        }
}

template <class Weights, int M> static void launch_for(const struct plain &o, const Weights &w)
{
    const int64_t each = WARPS * outputs_of(M);
    LAUNCH((few_plain_kernel<M, Weights>), (unsigned)((o.n + each - 1) / each), 32 * WARPS, 0, o, w);
}

template <class Weights> static void launch(const struct plain &o, const Weights &w)
{
    if (o.m == 1)
        launch_for<Weights, 1>(o, w);
    else if (o.m <= 4)
        launch_for<Weights, 4>(o, w);
    else
        launch_for<Weights, MATMUL_FEW_ROWS>(o, w);
}

static void plain_product(const struct matmul *m)
{
    const struct mat *b = &m->b;
    bool integers = b->quantized && b->quantized->kind != QUANTIZED_NF4 && b->quantized->kind != QUANTIZED_FP4; /* multiplied as they are */
    struct plain o = {m->a.data, m->a.type, m->a.row_stride, m->n, m->k, m->ldc, m->c, m->alpha, (int)m->m, m->beta != 0, m->round_bf16,
                      m->round_bf16 && !integers};
    if (!b->quantized) {
        struct stored d = {b->data, b->type, b->col_stride, (uintptr_t)b->data % 16 == 0 && b->col_stride % EACH == 0};
        launch(o, d);
        return;
    }
    struct quantized_source p = quantized_source_of(b->quantized);
    if (p.tables)
        launch(o, p);
}

/* ---- which ---- */

static few_start start_of(const struct matmul *m)
{
    const struct quantized *q = m->b.quantized;
    few_start start = !m->round_bf16 || m->n >= INT32_MAX / 16 || m->k >= INT32_MAX / 16 || (m->n / 64 + 1) * (m->k / 32 + 1) > INT32_MAX ? NULL : few_dense_start(&m->b, m->k);
    if (m->round_bf16 && q && !start)
        start = few_codes_start(q);
    if (m->round_bf16 && q && !start)
        start = few_words_start(q);
    return start;
}

bool few_takes(const struct matmul *m)
{
    return m->m <= MATMUL_FEW_ROWS && m->a.col_stride == 1 && m->b.row_stride == 1 && !m->cuts;
}

void few_flush(struct few_batch *b)
{
    if (b->count)
        b->start(b->list, b->count, true);
    b->count = 0, b->tiles = 0, b->rows = 0;
}

void few_add(struct few_batch *b, const struct matmul *m)
{
    few_start start = start_of(m);
    int64_t tiles = m->n / LEAST_OUTPUTS + 1;
    if (!start || tiles > FEW_COUNTERS) {
        plain_product(m);
        return;
    }
    if (b->count && (start != b->start || b->count == FEW_MOST || b->tiles + tiles > FEW_COUNTERS || b->rows + m->m > FEW_ROWS))
        few_flush(b);
    b->start = start;
    b->list[b->count++] = *m;
    b->tiles += tiles;
    b->rows += m->m;
}

/* As they will lie on the device: there all arrays are aligned. */
size_t few_bytes(const struct matmul *m)
{
    struct matmul there = *m;
    struct quantized q = {};
    there.b.data = NULL;
    if (m->b.quantized) {
        q = *m->b.quantized;
        q.codes = q.scales = q.nested_scales = q.nested_map = q.zeros = NULL;
        there.b.quantized = &q;
    }
    few_start start = few_takes(m) ? start_of(&there) : NULL;
    return start ? start(&there, 1, false) * FEW_ROWS / (size_t)m->m : 0;
}

unsigned *few_counters(void)
{
    static unsigned *there;
    struct err e = ERR_INIT;
    if (!there && !(there = (unsigned *)cuda_alloc(FEW_COUNTERS * sizeof *there, &e)))
        cuda_failed("%s", e.text);
    return there;
}
