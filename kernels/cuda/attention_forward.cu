/* Causal attention in f32, forward: online softmax (Milakov and Gimelshein, 2018; Dao et al., "FlashAttention", 2022), keys in tiles of 32. */
#include "kernels/cuda/attention_tile.h"

#define WARPS 4
#define ROWS 16 /* of a block */
#define EACH (ROWS / WARPS)

/* A warp has EACH rows of the tile. */
template <int PARTS> static __global__ void __launch_bounds__(32 * WARPS) attention_kernel(struct attention_args a)
{
    DYNAMIC_SHARED(float, shared);
    const struct attention_work work = a.work[blockIdx.x];
    const struct attention_seq s = a.seq[work.seq];
    int d = a.d, h = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32, odd = d | 1;
    int64_t behind = s.k_len - s.q_len, left = s.q_len - work.first;
    float *q = shared, *k = q + ROWS * d, *v = k + KEYS * odd;
    float top[EACH], sum[EACH], acc[EACH][PARTS];
    attention_load(q, d, a.q + (s.q_row + work.first) * a.q_stride + h * d, a.q_stride, ROWS, left, d);
    for (int r = 0; r < EACH; r++) {
        top[r] = -INFINITY, sum[r] = 0;
        for (int t = 0; t < PARTS; t++)
            acc[r][t] = 0;
    }
    int64_t last = behind + work.first + (left < ROWS ? left : ROWS) - 1;
    for (int64_t first = 0; (first = attention_next_keys(&a, &s, behind + work.first, last, first, KEYS)) <= last; first += KEYS) {
        __syncthreads(); /* the tile before is done with */
        attention_load_keys(k, odd, v, d, &a, &s, first, h / (a.heads / a.kv_heads));
        __syncthreads();
#pragma unroll
        for (int r = 0; r < EACH; r++) {
            int i = warp * EACH + r;
            bool seen = i < left && first + lane < s.k_len && attention_row_sees(&a, &s, behind + work.first + i, first + lane);
            float z = seen ? attention_score(&a, attention_dot(q + i * d, k + lane * odd, d)) : -INFINITY;
            float most = fmaxf(top[r], warp_max(z)), p = z == -INFINITY ? 0 : expf(z - most), by = top[r] == -INFINITY ? 0 : expf(top[r] - most);
            top[r] = most;
            sum[r] = sum[r] * by + warp_sum(p);
#pragma unroll
            for (int t = 0; t < PARTS; t++)
                acc[r][t] *= by;
            for (int j = 0; j < KEYS; j++) {
                float pj = __shfl_sync(ALL_LANES, p, j);
#pragma unroll
                for (int t = 0; t < PARTS; t++)
                    if (32 * t + lane < d)
                        acc[r][t] = fmaf(pj, v[j * d + 32 * t + lane], acc[r][t]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < EACH; r++) {
        int i = warp * EACH + r;
        int64_t row = s.q_row + work.first + i;
        if (i >= left)
            continue;
#pragma unroll
        for (int t = 0; t < PARTS; t++)
            if (32 * t + lane < d)
                a.out[row * a.out_stride + h * d + 32 * t + lane] = acc[r][t] / sum[r];
        if (a.lse && lane == 0)
            a.lse[row * a.heads + h] = top[r] + logf(sum[r]);
    }
}

void attention_f32(const struct attention *a)
{
    struct attention_args args;
    unsigned tiles;
    int d = a->head_dim;
    size_t bytes = (size_t)(ROWS * d + KEYS * (d | 1) + KEYS * d) * sizeof(float);
    if (!attention_begin(&args, a) || !attention_tiles(&args, a, ROWS, false, &tiles) || !tiles)
        return;
    dim3 grid(tiles, (unsigned)a->heads);
    if (d <= 64)
        LAUNCH(attention_kernel<2>, grid, 32 * WARPS, bytes, args);
    else if (d <= 128)
        LAUNCH(attention_kernel<4>, grid, 32 * WARPS, bytes, args);
    else
        LAUNCH(attention_kernel<8>, grid, 32 * WARPS, bytes, args);
}
