/* Causal attention, forward: online softmax (Milakov and Gimelshein, 2018; Dao et al., "FlashAttention", 2022) in f32, keys in tiles of 32. */
#include "kernels/cuda/attention_tile.h"

#include <stdlib.h>

#define WARPS 4
#define ROWS 16 /* of a block */
#define EACH (ROWS / WARPS)

bool attention_prepare(struct attention_args *to, const struct attention *a, int each, bool keys, unsigned *tiles)
{
    int64_t count = 0, n = 0;
    for (int i = 0; i < a->n_seq; i++)
        count += ((keys ? a->seq[i].k_len : a->seq[i].q_len) + each - 1) / each;
    *to = {a->q, a->dout, a->out, a->out, a->lse, a->dq, NULL, NULL, NULL, a->q_stride, a->kv_stride, a->out_stride, a->window, a->heads, a->kv_heads,
           a->head_dim, a->scale, a->softcap};
    if (count <= 0)
        return false;
    struct attention_work *work = (struct attention_work *)malloc((size_t)count * sizeof *work);
    if (!work) {
        cuda_failed("cannot get memory for %lld tiles of attention", (long long)count);
        return false;
    }
    for (int i = 0; i < a->n_seq; i++)
        for (int64_t at = 0; at < (keys ? a->seq[i].k_len : a->seq[i].q_len); at += each)
            work[n++] = {i, (int32_t)at};
    to->seq = (const struct attention_seq *)cuda_upload(a->seq, (size_t)a->n_seq * sizeof *a->seq);
    to->work = (const struct attention_work *)cuda_upload(work, (size_t)count * sizeof *work);
    *tiles = (unsigned)count;
    free(work);
    return to->seq && to->work;
}

/* A warp has EACH rows of the tile. */
template <int PARTS> static __global__ void __launch_bounds__(32 * WARPS) attention_kernel(struct attention_args a)
{
    DYNAMIC_SHARED(float, shared);
    const struct attention_work work = a.work[blockIdx.x];
    const struct attention_seq s = a.seq[work.seq];
    int d = a.d, h = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32, odd = d | 1;
    int64_t at_head = h / (a.heads / a.kv_heads) * d, behind = s.k_len - s.q_len, left = s.q_len - work.first;
    float *q = shared, *k = q + ROWS * d, *v = k + KEYS * odd;
    float top[EACH], sum[EACH], acc[EACH][PARTS];
    attention_load(q, d, a.q + (s.q_row + work.first) * a.q_stride + h * d, a.q_stride, ROWS, left, d);
    for (int r = 0; r < EACH; r++) {
        top[r] = -INFINITY, sum[r] = 0;
        for (int t = 0; t < PARTS; t++)
            acc[r][t] = 0;
    }
    int64_t last = behind + work.first + (left < ROWS ? left : ROWS) - 1;
    for (int64_t first = attention_first_key(&a, &s, behind + work.first); first <= last; first += KEYS) {
        __syncthreads(); /* the tile before is done with */
        attention_load(k, odd, s.k + first * a.kv_stride + at_head, a.kv_stride, KEYS, s.k_len - first, d);
        attention_load(v, d, s.v + first * a.kv_stride + at_head, a.kv_stride, KEYS, s.k_len - first, d);
        __syncthreads();
#pragma unroll
        for (int r = 0; r < EACH; r++) {
            int i = warp * EACH + r;
            bool seen = i < left && first + lane < s.k_len && attention_sees(&a, &s, behind + work.first + i, first + lane);
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

static void attention(const struct attention *a)
{
    struct attention_args args;
    unsigned tiles;
    int d = a->head_dim;
    size_t bytes = (size_t)(ROWS * d + KEYS * (d | 1) + KEYS * d) * sizeof(float);
    if (!attention_prepare(&args, a, ROWS, false, &tiles))
        return;
    dim3 grid(tiles, (unsigned)a->heads);
    if (d <= 64)
        LAUNCH(attention_kernel<2>, grid, 32 * WARPS, bytes, args);
    else if (d <= 128)
        LAUNCH(attention_kernel<4>, grid, 32 * WARPS, bytes, args);
    else if (d <= 256)
        LAUNCH(attention_kernel<8>, grid, 32 * WARPS, bytes, args);
    else
        cuda_failed("attention: heads of %d elements, expected at most 256", d);
}

/* What attention and products hold beside their arguments: row lists and tiles come from the ring of uploads. */
static size_t scratch_bytes(int heads, int kv_heads, int head_dim, int64_t rows)
{
    (void)heads, (void)kv_heads, (void)head_dim, (void)rows;
    return 0;
}

void cuda_fill_attention_back(struct kernels *k);

void cuda_fill_attention(struct kernels *k)
{
    k->attention = attention;
    k->scratch_bytes = scratch_bytes;
    cuda_fill_attention_back(k);
}
