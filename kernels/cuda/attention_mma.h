/* Attention by tensor cores (ptx.h): numbers rounded to bf16, tiles of them in shared memory, products of such tiles by one warp.
 *
 * q, k, v and dout are f32 in rows of any alignment. What is read again and again is first rounded to device memory of its own (attention_round.cu),
 * for each head rows of D elements, D being head_dim or the next size that there are kernels for, filled up with zeros; tiles of it come by cp.async. In shared
 * memory a row takes D + 8 elements: an odd number of 16 bytes, so that the 8 rows of an ldmatrix lie in different banks. */
#ifndef KERNELS_CUDA_ATTENTION_MMA_H
#define KERNELS_CUDA_ATTENTION_MMA_H

#include "kernels/cuda/attention_tile.h"
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/wide.h"

#define MMA_THREADS 128
#define MMA_KEYS 64 /* of a tile of keys that a list names */
#define LOG2_E 1.44269504f
#define LN_2 0.69314718f

/* Some key/value heads of a call, and the query heads that read them. Row r of head h, counted from the first of these, is at (h * rows + r) * D. */
struct attention_rounded {
    const uint16_t *k, *v;    /* (kv_heads, kv_rows, D): the keys of all samples after one another */
    const uint16_t *q, *dout; /* (kv_heads * group, q_rows, D), backward only, as the rest */
    const float *lse, *delta; /* (kv_heads * group, q_rows): lse / log 2; dout . out */
    int64_t kv_rows, q_rows;
    int first_kv_head, kv_heads, group;
};

/* The smallest D for heads of d elements. */
static inline int attention_size(int d)
{
    return d <= 64 ? 64 : d <= 80 ? 80 : d <= 96 ? 96 : d <= 128 ? 128 : 256;
}

/* What a block works on: blocks of a tile's heads follow one another, so that the heaviest tiles of all heads are first. */
struct attention_place {
    struct attention_work work;
    const struct attention_seq *s;
    int head;                      /* counted from the first of struct attention_rounded */
};

static __device__ __forceinline__ struct attention_place attention_place_of(const struct attention_args *a, int heads)
{
    struct attention_work work = a->work[blockIdx.x / heads];
    return {work, a->seq + work.seq, (int)(blockIdx.x % heads)};
}

/* ---- tiles ---- */

/* Elements c .. c + 7 of a row of d floats, rounded; zeros behind its end. */
static __device__ __forceinline__ uint4 attention_eight(const float *row, int c, int d, bool wide)
{
    struct floats<4> x = {}, y = {};
    if (wide) {
        x = c < d ? load<4>(row + c) : x;
        y = c + 4 < d ? load<4>(row + c + 4) : y;
    } else {
        x = load_four<1>(row, c, d);
        y = load_four<1>(row, c + 4, d);
    }
    return make_uint4(pack_bf16(x.at[0], x.at[1]), pack_bf16(x.at[2], x.at[3]), pack_bf16(y.at[0], y.at[1]), pack_bf16(y.at[2], y.at[3]));
}

static __device__ __forceinline__ bool attention_is_wide(const float *p, int64_t stride, int d)
{
    return (uintptr_t)p % 16 == 0 && stride % 4 == 0 && d % 4 == 0;
}

/* ROWS rows of rounded numbers are asked for; zeros from `there` on. */
template <int D, int ROWS, int THREADS> static __device__ __forceinline__ void attention_fetch(uint16_t *to, const uint16_t *from, int there)
{
    constexpr int LANES = D <= 64 ? 8 : D <= 128 ? 16 : 32, AT_ONCE = THREADS / LANES; /* of a row, so that each step is as far as the one before */
    int i = threadIdx.x / LANES, c = threadIdx.x % LANES * 8;
    static_assert(ROWS % AT_ONCE == 0, "whole steps");
    to += i * (D + 8) + c, from += i * D + c, there -= i;
#pragma unroll
    for (int e = 0; e < ROWS; e += AT_ONCE)
        if (D == 8 * LANES || c < D)
            cp_async_16(to + e * (D + 8), from + e * D, e < there ? 16 : 0);
}

/* TILE keys of a head from `first` of the sample on, whose keys begin at `row`, and their values behind them. */
template <int D, int TILE>
static __device__ __forceinline__ void attention_fetch_keys(uint16_t *to, const struct attention_rounded *r, const struct attention_seq *s, int64_t row, int first)
{
    attention_fetch<D, TILE, MMA_THREADS>(to, r->k + (row + first) * D, (int)s->k_len - first);
    attention_fetch<D, TILE, MMA_THREADS>(to + TILE * (D + 8), r->v + (row + first) * D, (int)s->k_len - first);
}

/* ---- products ---- */

/* Where a lane points for ldmatrix: 16 x 16 elements as the left side of a product, or, transposed, as its right side ... */
template <int D> static __device__ __forceinline__ const uint16_t *attention_by_row(const uint16_t *tile)
{
    int lane = threadIdx.x % 32;
    return tile + lane % 16 * (D + 8) + lane / 16 * 8;
}

/* ... and rows of which each is a column of the right side. */
template <int D> static __device__ __forceinline__ const uint16_t *attention_by_column(const uint16_t *tile)
{
    int lane = threadIdx.x % 32;
    return tile + (lane / 16 * 8 + lane % 8) * (D + 8) + lane / 8 % 2 * 8;
}

template <int M, int N> static __device__ __forceinline__ void attention_clear(float c[M][N][4])
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                c[m][n][e] = 0;
}

/* c (16 M, 8 N) = dot products of 16 M rows with 8 N rows: a from attention_by_row, b from attention_by_column. */
template <int M, int N, int D> static __device__ __forceinline__ void attention_dots(float c[M][N][4], const uint16_t *a, const uint16_t *b)
{
    attention_clear<M, N>(c);
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        uint32_t left[M][4], right[4];
#pragma unroll
        for (int m = 0; m < M; m++)
            ldmatrix_x4(left[m], a + 16 * m * (D + 8) + k);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            ldmatrix_x4(right, b + 8 * n * (D + 8) + k);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(c[m][n], left[m], right);
                mma_bf16(c[m][n + 1], left[m], right + 2);
            }
        }
    }
}

/* What a product leaves, as the left side of the next: 8 K columns of c, rounded, are 16 K / 2 steps. */
template <int M, int K> static __device__ __forceinline__ void attention_pack(uint32_t p[M][K / 2][4], const float c[M][K][4])
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int k = 0; k < K; k += 2) {
            p[m][k / 2][0] = pack_bf16(c[m][k][0], c[m][k][1]);
            p[m][k / 2][1] = pack_bf16(c[m][k][2], c[m][k][3]);
            p[m][k / 2][2] = pack_bf16(c[m][k + 1][0], c[m][k + 1][1]);
            p[m][k / 2][3] = pack_bf16(c[m][k + 1][2], c[m][k + 1][3]);
        }
}

/* c (16 M, 8 N) += p (16 M, 16 K) times 16 K rows of b, from attention_by_row. */
template <int M, int N, int K, int D> static __device__ __forceinline__ void attention_add(float c[M][N][4], const uint32_t p[M][K][4], const uint16_t *b)
{
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t right[4];
            ldmatrix_x4_trans(right, b + 16 * k * (D + 8) + 8 * n);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(c[m][n], p[m][k], right);
                mma_bf16(c[m][n + 1], p[m][k], right + 2);
            }
        }
}

/* ---- scores ---- */

/* cap tanh(z / cap), within 2^-23 cap. */
static __device__ __forceinline__ float attention_capped(float z, float cap)
{
    return cap - __fdividef(2 * cap, exp2_fast(z * (2 * LOG2_E / cap)) + 1);
}

/* attention_sees(), relative to key `from`, in 32 bits. */
struct attention_near {
    int low, high, gap, gap_end;
};

static __device__ __forceinline__ struct attention_near attention_near_of(const struct attention_seq *s, int64_t window, int64_t row, int64_t from)
{
    struct attention_span x = attention_span_of(s, window, row);
    return {(int)(x.low - from), (int)(x.high - from), (int)(x.gap - from), (int)(x.gap_end - from)};
}

static __device__ __forceinline__ bool attention_near_sees(const struct attention_near *x, int key)
{
    return (key >= x->low) & (key <= x->high) & ((key < x->gap) | (key >= x->gap_end)); /* without branches */
}

/* Which of the lane's scores are of keys that are seen, a bit each: found before there are scores, because then there are registers. */
template <int M> struct attention_bits {
    uint32_t of[M][2];
    bool whole;
};

/* Of 16 M rows, the lane's first being `row`, by 8 N keys from `from` on. */
template <int M, int N>
static __device__ __forceinline__ void attention_look(struct attention_bits<M> *b, const struct attention_args *a, const struct attention_seq *s, int64_t row, int64_t from)
{
    static_assert(N <= 16, "32 bits");
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            struct attention_near x = attention_near_of(s, a->window, row + 16 * m + 8 * half, from);
            b->of[m][half] = 0;
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 0; e < 2; e++)
                    b->of[m][half] |= (uint32_t)attention_near_sees(&x, 8 * n + (int)threadIdx.x % 4 * 2 + e) << (2 * n + e);
        }
}

/* The others are -infinity. */
template <int M, int N> static __device__ __forceinline__ void attention_hide(float z[M][N][4], const struct attention_bits<M> *b)
{
    if (b->whole)
        return;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                z[m][n][e] = b->of[m][e / 2] >> (2 * n + e % 2) & 1 ? z[m][n][e] : -INFINITY;
}

/* ---- results ---- */

/* Rows of c times by[row] to device memory, those before `left`, the first d columns; the lane's first row and column are `row` and `column`. */
template <int M, int N>
static __device__ __forceinline__ void attention_store(float *to, int64_t stride, const float c[M][N][4], const float by[M][2], int row, int left, int column, int d)
{
    bool pairs = (uintptr_t)to % 8 == 0 && stride % 2 == 0 && d % 2 == 0;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int i = row + 16 * m + 8 * half;
            float *at = to + i * stride + column;
            if (i >= left)
                continue;
#pragma unroll
            for (int n = 0; n < N; n++) {
                float x = c[m][n][2 * half] * by[m][half], y = c[m][n][2 * half + 1] * by[m][half];
                if (pairs && column + 8 * n < d) {
                    store<2>(at + 8 * n, {x, y});
                    continue;
                }
                if (column + 8 * n < d)
                    at[8 * n] = x;
                if (column + 8 * n + 1 < d)
                    at[8 * n + 1] = y;
            }
        }
}

/* ---- the host's side ---- */

/* Calls do(rounded, arg) for some key/value heads after others, as many at a time as ATTENTION_ROUNDED_BYTES hold, when they are rounded. `keys`: of
 * tiles of MMA_KEYS keys; `rows`, of tiles of `each` rows: with the backward pass, else NULL. */
struct attention_lists {
    struct attention_args rows, keys;
    unsigned row_tiles, key_tiles;
    int rows_each;
};

bool attention_lists_make(struct attention_lists *l, const struct attention *a, int rows_each);
void attention_round(const struct attention_lists *l, const struct attention *a, bool backward, void (*then)(const struct attention_lists *l, const struct attention_rounded *r));

#ifdef __CUDACC__
#define ATTENTION_ROUNDED_BYTES ((size_t)128 << 20)
#else
#define ATTENTION_ROUNDED_BYTES ((size_t)32 << 10) /* small tests have several parts, too */
#endif

#endif
