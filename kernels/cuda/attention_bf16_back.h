/* What the two passes of attention_bf16_backward() share (attention_dq_bf16.cu, attention_dkv_bf16.cu). */
#ifndef KERNELS_CUDA_ATTENTION_BF16_BACK_H
#define KERNELS_CUDA_ATTENTION_BF16_BACK_H

#include "kernels/cuda/attention_mma.h"

/* ROWS rows of a head from `row` of the sample on. */
template <int D, int ROWS, int THREADS>
static __device__ __forceinline__ void attention_fetch_rows(uint16_t *q, uint16_t *dout, const struct attention_rounded *r, const struct attention_seq *s, int head, int row)
{
    int64_t at = (head * r->q_rows + s->q_row + row) * D;
    attention_fetch<D, ROWS, THREADS>(q, r->q + at, (int)s->q_len - row);
    attention_fetch<D, ROWS, THREADS>(dout, r->dout + at, (int)s->q_len - row);
}

/* One row and one key: their score (not yet scaled, -infinity when the row does not see the key) and dout . v become p and dscore / scale; lse is in units of log 2. */
static __device__ __forceinline__ void attention_pair(float *z, float *dp, const struct attention_args *a, float lse, float delta)
{
    float p, slope = 1;
    if (a->softcap > 0) {
        float x = attention_capped(a->scale * *z, a->softcap), share = x / a->softcap;
        slope = 1 - share * share;
        p = *z == -INFINITY ? 0 : exp2_fast(fmaf(x, LOG2_E, -lse));
    } else {
        p = exp2_fast(fmaf(*z, a->scale * LOG2_E, -lse));
    }
    *z = p;
    *dp = p * (*dp - delta) * slope;
}

void attention_bf16_dq(const struct attention_args *rows, unsigned tiles, const struct attention_rounded *r);
void attention_bf16_dkv(const struct attention_args *keys, unsigned tiles, const struct attention_rounded *r);

#endif
