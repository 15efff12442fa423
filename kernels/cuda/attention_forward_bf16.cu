/* Causal attention by tensor cores, forward (Dao, "FlashAttention-2", 2023): a block has 64 M query rows of a head, a warp 16 M of them, and goes over the keys in
 * tiles, the next one on its way meanwhile. Scores and the sums of the output stay in registers; the probabilities are the left side of the second
 * product as they come out of the first. */
#include "kernels/cuda/attention_mma.h"

/* Largest scores so far, and sums of the probabilities of the lane's columns. */
template <int M> struct softmax {
    float top[M][2], sum[M][2];
};

/* Scores z become probabilities before division by their sum, c in z * c2 being what makes powers of 2 of them; o follows the new maxima. */
template <int M, int N, int ND>
static __device__ __forceinline__ void softmax_step(struct softmax<M> *x, float z[M][N][4], float o[M][ND][4], float c2)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = x->top[m][half], sum = 0;
#pragma unroll
            for (int n = 0; n < N; n++)
                most = fmaxf(most, fmaxf(z[m][n][2 * half], z[m][n][2 * half + 1]));
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
            float base = most == -INFINITY ? 0 : most * c2, by = exp2_fast(x->top[m][half] * c2 - base); /* exactly 1 when it is the same */
            x->top[m][half] = most;
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = 2 * half; e < 2 * half + 2; e++) {
                    z[m][n][e] = exp2_fast(fmaf(z[m][n][e], c2, -base));
                    sum += z[m][n][e];
                }
            x->sum[m][half] = fmaf(x->sum[m][half], by, sum);
            if (__any_sync(ALL_LANES, by != 1))
#pragma unroll
                for (int n = 0; n < ND; n++)
#pragma unroll
                    for (int e = 2 * half; e < 2 * half + 2; e++)
                        o[m][n][e] *= by;
        }
}

/* The sums of all columns: lse, and what the rows of the output are multiplied by. */
template <int M> static __device__ __forceinline__ void softmax_end(float by[M][2], struct softmax<M> *x, float c2, float *lse, int64_t stride, int row, int left)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int i = row + 16 * m + 8 * half;
            float sum = x->sum[m][half];
            sum += __shfl_xor_sync(ALL_LANES, sum, 1);
            sum += __shfl_xor_sync(ALL_LANES, sum, 2);
            by[m][half] = 1 / sum;
            if (lse && i < left && threadIdx.x % 4 == 0)
                lse[i * stride] = (x->top[m][half] * c2 + log2f(sum)) * LN_2;
        }
}

template <int N, int M> static __device__ __forceinline__ void cap_scores(float z[M][N][4], float scale, float cap)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                z[m][n][e] = attention_capped(scale * z[m][n][e], cap);
}

template <int D, int ROWS> static __device__ __forceinline__ void load_queries(uint16_t *q, const float *from, int64_t stride, int left, int d)
{
    bool wide = attention_is_wide(from, stride, d);
    for (int e = threadIdx.x; e < ROWS * (D / 8); e += MMA_THREADS) {
        int i = e / (D / 8), c = e % (D / 8) * 8;
        *(uint4 *)(q + i * (D + 8) + c) = i < left ? attention_eight(from + i * stride, c, d, wide) : make_uint4(0, 0, 0, 0);
    }
}

/* The rows and the sample are asked for again at the end: in between all registers are needed. */
template <int D, int M> static __device__ __forceinline__ void store_rows(const struct attention_args *a, const struct attention_rounded *r, struct softmax<M> *soft, const float o[M][D / 8][4], float c2)
{
    const struct attention_place at = attention_place_of(a, r->kv_heads * r->group);
    int h = r->first_kv_head * r->group + at.head, row = threadIdx.x / 32 * 16 * M + threadIdx.x % 32 / 4, left = (int)at.s->q_len - at.work.first;
    int64_t to = at.s->q_row + at.work.first;
    float by[M][2];
    softmax_end<M>(by, soft, c2, a->lse ? a->lse + to * a->heads + h : NULL, a->heads, row, left);
    attention_store<M, D / 8>(a->out + to * a->out_stride + h * a->d, a->out_stride, o, by, row, left, threadIdx.x % 4 * 2, a->d);
}

template <int D, int M, int TILE> static __global__ void __launch_bounds__(MMA_THREADS, 2) attention_bf16_kernel(struct attention_args a, struct attention_rounded r)
{
    constexpr int ROWS = 64 * M, N = TILE / 8, ND = D / 8, LD = D + 8;
    DYNAMIC_SHARED(uint16_t, q);
    uint16_t *tiles = q + ROWS * LD; /* two buffers, each of keys and values */
    const struct attention_place at = attention_place_of(&a, r.kv_heads * r.group);
    const struct attention_seq &s = *at.s;
    int left = (int)s.q_len - at.work.first, behind = (int)(s.k_len - s.q_len) + at.work.first, last = behind + (left < ROWS ? left : ROWS) - 1;
    int warp_row = threadIdx.x / 32 * 16 * M, warp_last = warp_row + 16 * M < left ? behind + warp_row + 16 * M - 1 : last;
    int first = attention_next_keys(&a, &s, behind, last, 0, TILE);
    int64_t keys = at.head / r.group * r.kv_rows + at.work.keys_before;
    float o[M][ND][4], c2 = a.softcap > 0 ? LOG2_E : a.scale * LOG2_E;
    struct softmax<M> soft;
    attention_fetch_keys<D, TILE>(tiles, &r, &s, keys, first);
    cp_async_commit();
    load_queries<D, ROWS>(q, a.q + (s.q_row + at.work.first) * a.q_stride + (r.first_kv_head * r.group + at.head) * a.d, a.q_stride, left, a.d);
    attention_clear<M, ND>(o);
#pragma unroll
    for (int m = 0; m < M; m++)
        soft.top[m][0] = soft.top[m][1] = -INFINITY, soft.sum[m][0] = soft.sum[m][1] = 0;
    for (int buffer = 0; first <= last; buffer ^= 1) {
        int next = attention_next_keys(&a, &s, behind, last, first + TILE, TILE);
        const uint16_t *k = tiles + buffer * 2 * TILE * LD;
        struct attention_bits<M> bits;
        float z[M][N][4];
        uint32_t p[M][N / 2][4];
        bits.whole = attention_whole(&s, a.window, behind + warp_row, warp_last, first, first + TILE - 1);
        if (!bits.whole)
            attention_look<M, N>(&bits, &a, &s, behind + warp_row + threadIdx.x % 32 / 4, first);
        cp_async_wait<0>();
        __syncthreads(); /* this tile is there, the one before is done with */
        if (next <= last)
            attention_fetch_keys<D, TILE>(tiles + (buffer ^ 1) * 2 * TILE * LD, &r, &s, keys, next);
        cp_async_commit();
        attention_dots<M, N, D>(z, attention_by_row<D>(q + warp_row * LD), attention_by_column<D>(k));
        if (a.softcap > 0)
            cap_scores<N, M>(z, a.scale, a.softcap);
        attention_hide<M, N>(z, &bits);
        softmax_step<M, N, ND>(&soft, z, o, c2);
        attention_pack<M, N>(p, z);
        attention_add<M, ND, N / 2, D>(o, p, attention_by_row<D>(k + TILE * LD));
        first = next;
    }
    store_rows<D, M>(&a, &r, &soft, o, c2);
}

template <int D, int M, int TILE> static void launch(const struct attention_lists *l, const struct attention_rounded *r)
{
    unsigned blocks = l->row_tiles * (unsigned)(r->kv_heads * r->group);
    size_t bytes = (size_t)((64 * M + 4 * TILE) * (D + 8)) * sizeof(uint16_t);
    if (blocks)
        LAUNCH((attention_bf16_kernel<D, M, TILE>), blocks, MMA_THREADS, bytes, l->rows, *r);
}

/* As many rows and keys as there are registers for, and 99 KB of shared memory. */
void attention_bf16(const struct attention *a)
{
    struct attention_lists l;
    int size = attention_size(a->head_dim);
    if (!attention_lists_make(&l, a, size == 256 ? 64 : 128))
        return;
    if (size == 64)
        attention_round(&l, a, false, launch<64, 2, 64>);
    else if (size == 80)
        attention_round(&l, a, false, launch<80, 2, 32>);
    else if (size == 96)
        attention_round(&l, a, false, launch<96, 2, 32>);
    else if (size == 128)
        attention_round(&l, a, false, launch<128, 2, 32>);
    else
        attention_round(&l, a, false, launch<256, 1, 32>);
}
