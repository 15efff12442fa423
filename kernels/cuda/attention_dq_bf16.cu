/* Gradients of queries by tensor cores: a block has 64 M rows of a head, a warp 16 M of them, and goes over the keys in tiles of TILE; the next keys are on their way
 * for a whole tile, the next values while dscore is multiplied by the keys (formulas: attention_back.cu). */
#include "kernels/cuda/attention_bf16_back.h"

/* Of the lane's rows. */
template <int M> struct row_sums {
    float lse[M][2], delta[M][2];
};

template <int M> static __device__ __forceinline__ void row_sums_load(struct row_sums<M> *x, const struct attention_rounded *r, int64_t at, int row, int left)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int i = row + 16 * m + 8 * half;
            x->lse[m][half] = i < left ? r->lse[at + i] : 0;
            x->delta[m][half] = i < left ? r->delta[at + i] : 0;
        }
}

/* dp becomes dscore / scale. */
template <int M, int N>
static __device__ __forceinline__ void pairs_of(float z[M][N][4], float dp[M][N][4], const struct attention_args *a, const struct row_sums<M> *x)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                attention_pair(&z[m][n][e], &dp[m][n][e], a, x->lse[m][e / 2], x->delta[m][e / 2]);
}

/* The rows and the sample are asked for again at the end: in between all registers are needed. */
template <int D, int M> static __device__ __forceinline__ void store_rows(const struct attention_args *a, const struct attention_rounded *r, const float dq[M][D / 8][4])
{
    const struct attention_place at = attention_place_of(a, r->kv_heads * r->group);
    int h = r->first_kv_head * r->group + at.head, row = threadIdx.x / 32 * 16 * M + threadIdx.x % 32 / 4, left = (int)at.s->q_len - at.work.first;
    float scale[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
        scale[m][0] = scale[m][1] = a->scale;
    attention_store<M, D / 8>(a->dq + (at.s->q_row + at.work.first) * a->q_stride + h * a->d, a->q_stride, dq, scale, row, left, threadIdx.x % 4 * 2, a->d);
}

template <int D, int M, int TILE> static __global__ void __launch_bounds__(MMA_THREADS, 2) dq_bf16_kernel(struct attention_args a, struct attention_rounded r)
{
    constexpr int ROWS = 64 * M, N = TILE / 8, ND = D / 8, LD = D + 8;
    DYNAMIC_SHARED(uint16_t, q);
    uint16_t *dout = q + ROWS * LD, *v = dout + ROWS * LD, *both = v + TILE * LD; /* two buffers of keys */
    const struct attention_place at = attention_place_of(&a, r.kv_heads * r.group);
    const struct attention_seq &s = *at.s;
    int warp_row = threadIdx.x / 32 * 16 * M, row = warp_row + threadIdx.x % 32 / 4;
    int left = (int)s.q_len - at.work.first, behind = (int)(s.k_len - s.q_len) + at.work.first, last = behind + (left < ROWS ? left : ROWS) - 1;
    int warp_last = warp_row + 16 * M < left ? behind + warp_row + 16 * M - 1 : last, first = attention_next_keys(&a, &s, behind, last, 0, TILE);
    int64_t keys = at.head / r.group * r.kv_rows + at.work.keys_before;
    float dq[M][ND][4];
    struct row_sums<M> sums;
    attention_fetch_rows<D, ROWS, MMA_THREADS>(q, dout, &r, &s, at.head, at.work.first);
    attention_fetch<D, TILE, MMA_THREADS>(both, r.k + (keys + first) * D, (int)s.k_len - first);
    attention_fetch<D, TILE, MMA_THREADS>(v, r.v + (keys + first) * D, (int)s.k_len - first);
    cp_async_commit();
    row_sums_load<M>(&sums, &r, at.head * r.q_rows + s.q_row + at.work.first, row, left);
    attention_clear<M, ND>(dq);
    for (int buffer = 0; first <= last; buffer ^= 1) {
        int next = attention_next_keys(&a, &s, behind, last, first + TILE, TILE);
        const uint16_t *k = both + buffer * TILE * LD;
        struct attention_bits<M> bits;
        float z[M][N][4], dp[M][N][4];
        uint32_t p[M][N / 2][4];
        bits.whole = attention_whole(&s, a.window, behind + warp_row, warp_last, first, first + TILE - 1);
        if (!bits.whole)
            attention_look<M, N>(&bits, &a, &s, behind + row, first);
        cp_async_wait<0>();
        __syncthreads(); /* this tile is there, the keys before are done with */
        if (next <= last)
            attention_fetch<D, TILE, MMA_THREADS>(both + (buffer ^ 1) * TILE * LD, r.k + (keys + next) * D, (int)s.k_len - next);
        attention_dots<M, N, D>(z, attention_by_row<D>(q + warp_row * LD), attention_by_column<D>(k));
        attention_dots<M, N, D>(dp, attention_by_row<D>(dout + warp_row * LD), attention_by_column<D>(v));
        __syncthreads(); /* the values are done with */
        if (next <= last)
            attention_fetch<D, TILE, MMA_THREADS>(v, r.v + (keys + next) * D, (int)s.k_len - next);
        cp_async_commit();
        attention_hide<M, N>(z, &bits);
        pairs_of<M, N>(z, dp, &a, &sums);
        attention_pack<M, N>(p, dp);
        attention_add<M, ND, N / 2, D>(dq, p, attention_by_row<D>(k));
        first = next;
    }
    store_rows<D, M>(&a, &r, dq);
}

template <int D, int M, int TILE> static void launch(const struct attention_args *rows, unsigned tiles, const struct attention_rounded *r)
{
    LAUNCH((dq_bf16_kernel<D, M, TILE>), tiles * (unsigned)(r->kv_heads * r->group), MMA_THREADS, (size_t)((128 * M + 3 * TILE) * (D + 8)) * sizeof(uint16_t), *rows, *r);
}

void attention_bf16_dq(const struct attention_args *rows, unsigned tiles, const struct attention_rounded *r)
{
    switch (attention_size(rows->d)) {
    case 64:
        launch<64, 2, 32>(rows, tiles, r);
        break;
    case 80:
        launch<80, 2, 32>(rows, tiles, r);
        break;
    case 96:
        launch<96, 2, 32>(rows, tiles, r);
        break;
    case 128:
        launch<128, 2, 32>(rows, tiles, r);
        break;
    default:
        launch<256, 1, 16>(rows, tiles, r);
    }
}

static void passes(const struct attention_lists *l, const struct attention_rounded *r)
{
    if (l->row_tiles)
        attention_bf16_dq(&l->rows, l->row_tiles, r);
    attention_bf16_dkv(&l->keys, l->key_tiles, r);
}

void attention_bf16_backward(const struct attention *a)
{
    struct attention_lists l;
    if (attention_lists_make(&l, a, attention_size(a->head_dim) == 256 ? 64 : 128))
        attention_round(&l, a, true, passes);
}
