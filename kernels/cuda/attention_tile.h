/* What the passes of attention share: the work list, who sees whom, tiles in shared memory.
 *
 * A block of WARPS warps has a tile of query rows of one head, or a tile of KEYS keys of one key/value head, always counted from the
 * beginning of its sample, so that the bits of a row depend on its sample alone. In a tile of keys lane j of a warp stands for key j. Elements of a
 * row are spread over the lanes, d = lane, lane + 32, ...: PARTS of them, for heads of up to 32 PARTS elements. */
#ifndef KERNELS_CUDA_ATTENTION_TILE_H
#define KERNELS_CUDA_ATTENTION_TILE_H

#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

#define KEYS 32

/* A tile: rows, or keys, from `first` on, of sample `seq`. */
struct attention_work {
    int32_t seq, first;
};

struct attention_args {
    const float *q, *dout;
    const float *att;       /* the forward pass's result */
    float *out, *lse, *dq;
    const float *delta;     /* (N, H), dout . out */
    const struct attention_seq *seq; /* device */
    const struct attention_work *work;
    int64_t q_stride, kv_stride, out_stride, window;
    int heads, kv_heads, d;
    float scale, softcap;
};

/* Does the query behind `row` - 1 keys see key j? (kernels.h, struct attention) */
static __device__ __forceinline__ bool attention_sees(const struct attention_args *a, const struct attention_seq *s, int64_t row, int64_t j)
{
    int64_t hidden = s->fork_end - s->fork_at, position = row, key = j;
    if (hidden && row >= s->fork_end) {
        if (j >= s->fork_at && j < s->fork_end)
            return false;
        position -= hidden;
        key -= j >= s->fork_end ? hidden : 0;
    }
    return j <= row && (a->window <= 0 || key > position - a->window);
}

static __device__ __forceinline__ float attention_score(const struct attention_args *a, float dot)
{
    float z = a->scale * dot;
    return a->softcap > 0 ? a->softcap * tanhf(z / a->softcap) : z;
}

/* `rows` rows of d elements to shared memory, row stride ld, zeros from `there` on; by all threads of the block. */
static __device__ __forceinline__ void attention_load(float *to, int ld, const float *from, int64_t stride, int rows, int64_t there, int d)
{
    for (int e = threadIdx.x; e < rows * d; e += blockDim.x) {
        int i = e / d, c = e % d;
        to[i * ld + c] = i < there ? from[i * stride + c] : 0;
    }
}

static __device__ __forceinline__ float attention_dot(const float *a, const float *b, int d)
{
    float sum = 0;
    for (int c = 0; c < d; c++)
        sum = fmaf(a[c], b[c], sum);
    return sum;
}

/* The first key that a tile of query rows whose first stands behind `row` keys may see, a multiple of KEYS. */
static __device__ __forceinline__ int64_t attention_first_key(const struct attention_args *a, const struct attention_seq *s, int64_t row)
{
    int64_t first = a->window > 0 && !s->fork_end ? row - a->window + 1 : 0;
    return first > 0 ? first / KEYS * KEYS : 0;
}

/* Arguments for the device: the samples, and tiles of `each` rows (or keys) of all of them. False: nothing to do, or an error that stays. */
bool attention_prepare(struct attention_args *to, const struct attention *a, int each, bool keys, unsigned *tiles);

#endif
