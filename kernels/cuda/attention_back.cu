/* Causal attention in f32, backward. With p = exp(score - lse), dp = dout . v and delta = dout . out:
 *   dscore = p (dp - delta), through the soft cap dz = dscore (1 - (score / c)^2), dq = scale dz k, dk = scale dz q, dv = p dout.
 * Two passes, each of which makes its sums in a fixed order: over rows for dq, over keys for dk and dv. */
#include "kernels/cuda/attention_tile.h"

/* ---- delta ---- */

/* A warp has a row of a head. */
static __global__ void __launch_bounds__(128) delta_kernel(float *delta, struct attention_args a, int rows)
{
    const struct attention_work work = a.work[blockIdx.x];
    const struct attention_seq s = a.seq[work.seq];
    int lane = threadIdx.x % 32;
    for (int i = threadIdx.x / 32; i < rows && work.first + i < s.q_len; i += 4) {
        int64_t row = s.q_row + work.first + i, at = row * a.out_stride + (int64_t)blockIdx.y * a.d;
        float sum = 0;
        for (int c = lane; c < a.d; c += 32)
            sum = fmaf(a.dout[at + c], a.att[at + c], sum);
        sum = warp_sum(sum);
        if (lane == 0)
            delta[row * a.heads + blockIdx.y] = sum;
    }
}

/* p and dz (times scale) of one query and one key. */
struct pair {
    float p, dz;
};

static __device__ __forceinline__ struct pair pair_of(const struct attention_args *a, const float *q, const float *dout, const float *k, const float *v, float lse,
                                                      float delta, bool seen)
{
    if (!seen)
        return {0, 0};
    float score = attention_score(a, attention_dot(q, k, a->d)), p = expf(score - lse), dz = p * (attention_dot(dout, v, a->d) - delta) * a->scale;
    if (a->softcap > 0)
        dz *= 1 - score / a->softcap * (score / a->softcap);
    return {p, dz};
}

/* ---- gradients of queries ---- */

#define DQ_WARPS 4
#define DQ_ROWS 16
#define DQ_EACH (DQ_ROWS / DQ_WARPS)

template <int PARTS> static __global__ void __launch_bounds__(32 * DQ_WARPS) attention_dq_kernel(struct attention_args a)
{
    DYNAMIC_SHARED(float, shared);
    const struct attention_work work = a.work[blockIdx.x];
    const struct attention_seq s = a.seq[work.seq];
    int d = a.d, h = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32, odd = d | 1;
    int64_t behind = s.k_len - s.q_len, left = s.q_len - work.first, row = s.q_row + work.first;
    float *q = shared, *dout = q + DQ_ROWS * d, *k = dout + DQ_ROWS * d, *v = k + KEYS * odd, acc[DQ_EACH][PARTS];
    attention_load_rows(q, dout, &a, &s, work.first, DQ_ROWS, h);
    for (int r = 0; r < DQ_EACH; r++)
        for (int t = 0; t < PARTS; t++)
            acc[r][t] = 0;
    int64_t last = behind + work.first + (left < DQ_ROWS ? left : DQ_ROWS) - 1;
    for (int64_t first = 0; (first = attention_next_keys(&a, &s, behind + work.first, last, first, KEYS)) <= last; first += KEYS) {
        __syncthreads();
        attention_load_keys(k, odd, v, odd, &a, &s, first, h / (a.heads / a.kv_heads));
        __syncthreads();
#pragma unroll
        for (int r = 0; r < DQ_EACH; r++) {
            int i = warp * DQ_EACH + r;
            bool there = i < left, seen = there && first + lane < s.k_len && attention_row_sees(&a, &s, behind + work.first + i, first + lane);
            float lse = there ? a.lse[(row + i) * a.heads + h] : 0, delta = there ? a.delta[(row + i) * a.heads + h] : 0;
            struct pair x = pair_of(&a, q + i * d, dout + i * d, k + lane * odd, v + lane * odd, lse, delta, seen);
            for (int j = 0; j < KEYS; j++) {
                float dz = __shfl_sync(ALL_LANES, x.dz, j);
#pragma unroll
                for (int t = 0; t < PARTS; t++)
                    if (32 * t + lane < d)
                        acc[r][t] = fmaf(dz, k[j * odd + 32 * t + lane], acc[r][t]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < DQ_EACH; r++)
#pragma unroll
        for (int t = 0; t < PARTS; t++)
            if (warp * DQ_EACH + r < left && 32 * t + lane < d)
                a.dq[(row + warp * DQ_EACH + r) * a.q_stride + h * d + 32 * t + lane] = acc[r][t];
}

/* ---- gradients of keys and values ---- */

#define DK_WARPS 8
#define DK_EACH (KEYS / DK_WARPS) /* keys whose sums a warp keeps */
#define DK_LD (KEYS + 1)

/* ROWS query rows at a time. */
template <int PARTS, int ROWS> static __global__ void __launch_bounds__(32 * DK_WARPS) attention_dkv_kernel(struct attention_args a)
{
    DYNAMIC_SHARED(float, shared);
    const struct attention_work work = a.work[blockIdx.x];
    const struct attention_seq s = a.seq[work.seq];
    int d = a.d, group = a.heads / a.kv_heads, lane = threadIdx.x % 32, warp = threadIdx.x / 32, odd = d | 1;
    int64_t first = work.first, at_head = (int64_t)blockIdx.y * d, behind = s.k_len - s.q_len;
    float *k = shared, *v = k + KEYS * odd, *q = v + KEYS * odd, *dout = q + ROWS * d, *p = dout + ROWS * d, *dz = p + ROWS * DK_LD;
    float dk[DK_EACH][PARTS], dv[DK_EACH][PARTS];
    attention_load_keys(k, odd, v, odd, &a, &s, first, blockIdx.y);
    for (int e = 0; e < DK_EACH; e++)
        for (int t = 0; t < PARTS; t++)
            dk[e][t] = dv[e][t] = 0;
    int64_t last = (first + KEYS < s.k_len ? first + KEYS : s.k_len) - 1, begin = first > behind ? (first - behind) / ROWS * ROWS : 0;
    for (int h = blockIdx.y * group; h < (int)(blockIdx.y + 1) * group; h++)
        for (int64_t i0 = begin; (i0 = attention_next_rows(&a, &s, first, last, i0, ROWS)) < s.q_len; i0 += ROWS) {
            int64_t row = s.q_row + i0, left = s.q_len - i0;
            __syncthreads(); /* the rows before are done with */
            attention_load_rows(q, dout, &a, &s, i0, ROWS, h);
            __syncthreads();
            for (int i = warp; i < ROWS; i += DK_WARPS) {
                bool there = i < left, seen = there && first + lane < s.k_len && attention_row_sees(&a, &s, behind + i0 + i, first + lane);
                float lse = there ? a.lse[(row + i) * a.heads + h] : 0, delta = there ? a.delta[(row + i) * a.heads + h] : 0;
                struct pair x = pair_of(&a, q + i * d, dout + i * d, k + lane * odd, v + lane * odd, lse, delta, seen);
                p[i * DK_LD + lane] = x.p;
                dz[i * DK_LD + lane] = x.dz;
            }
            __syncthreads();
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < DK_EACH; e++) {
                    float pe = p[i * DK_LD + warp * DK_EACH + e], ze = dz[i * DK_LD + warp * DK_EACH + e];
#pragma unroll
                    for (int t = 0; t < PARTS; t++)
                        if (32 * t + lane < d) {
                            dv[e][t] = fmaf(pe, dout[i * d + 32 * t + lane], dv[e][t]);
                            dk[e][t] = fmaf(ze, q[i * d + 32 * t + lane], dk[e][t]);
                        }
                }
        }
#pragma unroll
    for (int e = 0; e < DK_EACH; e++) {
        int64_t j = first + warp * DK_EACH + e;
#pragma unroll
        for (int t = 0; t < PARTS; t++)
            if (j < s.k_len && 32 * t + lane < d) {
                s.dk[j * a.kv_stride + at_head + 32 * t + lane] = dk[e][t];
                s.dv[j * a.kv_stride + at_head + 32 * t + lane] = dv[e][t];
            }
    }
}

static float *make_delta(struct attention_args *args, const struct attention *a, unsigned tiles)
{
    float *delta = (float *)cuda_scratch(CUDA_SCRATCH_ATTENTION, (size_t)(attention_rows(a) * a->heads) * sizeof *delta + 1);
    if (delta && tiles)
        LAUNCH(delta_kernel, dim3(tiles, (unsigned)a->heads), 128, 0, delta, *args, DQ_ROWS);
    return delta;
}

/* ROWS: of a step of the pass over keys, as many as shared memory holds. */
template <int PARTS, int ROWS> static void launch(const struct attention_args *rows, unsigned row_tiles, const struct attention_args *keys, unsigned key_tiles)
{
    int d = rows->d, odd = d | 1;
    size_t row_bytes = (size_t)(2 * DQ_ROWS * d + 2 * KEYS * odd) * sizeof(float), key_bytes = (size_t)(2 * KEYS * odd + 2 * ROWS * d + 2 * ROWS * DK_LD) * sizeof(float);
    if (row_tiles)
        LAUNCH(attention_dq_kernel<PARTS>, dim3(row_tiles, (unsigned)rows->heads), 32 * DQ_WARPS, row_bytes, *rows);
    if (key_tiles)
        LAUNCH((attention_dkv_kernel<PARTS, ROWS>), dim3(key_tiles, (unsigned)rows->kv_heads), 32 * DK_WARPS, key_bytes, *keys);
}

void attention_f32_backward(const struct attention *a)
{
    struct attention_args rows, keys;
    unsigned row_tiles, key_tiles;
    if (!attention_begin(&rows, a))
        return;
    keys = rows;
    if (!attention_tiles(&rows, a, DQ_ROWS, false, &row_tiles) || !attention_tiles(&keys, a, KEYS, true, &key_tiles) || !(rows.delta = make_delta(&rows, a, row_tiles)))
        return;
    keys.delta = rows.delta;
    if (a->head_dim <= 64)
        launch<2, 16>(&rows, row_tiles, &keys, key_tiles);
    else if (a->head_dim <= 128)
        launch<4, 16>(&rows, row_tiles, &keys, key_tiles);
    else
        launch<8, 8>(&rows, row_tiles, &keys, key_tiles);
}
