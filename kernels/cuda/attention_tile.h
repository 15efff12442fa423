/* What the passes of attention share: arguments, work lists, tiles of f32 in shared memory.
 *
 * A block has a tile of query rows of one head, or a tile of keys of one key/value head, always counted from the beginning of its sample, so that the bits of a
 * row depend on its sample alone. The kernels in f32 have tiles of KEYS keys, in which lane j of a warp stands for key j; elements of a
 * row are spread over the lanes, d = lane, lane + 32, ...: PARTS of them, for heads of up to 32 PARTS elements. */
#ifndef KERNELS_CUDA_ATTENTION_TILE_H
#define KERNELS_CUDA_ATTENTION_TILE_H

#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

extern "C" {
#include "kernels/attention_sees.h"
}

#define KEYS 32
#define ATTENTION_MOST_DIM 256

/* A tile: rows, or keys, from `first` on, of sample `seq`, before whose keys those of other samples are `keys_before`. */
struct attention_work {
    int32_t seq, first;
    int64_t keys_before;
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

/* Arguments for the device: the samples. False: nothing to do, or an error that stays. */
bool attention_begin(struct attention_args *to, const struct attention *a);
/* Tiles of `each` rows (or keys) of all samples to to->work, those with the most to do first. False: an error that stays. */
bool attention_tiles(struct attention_args *to, const struct attention *a, int each, bool keys, unsigned *tiles);
int64_t attention_rows(const struct attention *a); /* of q, as far as samples reach */

/* The ways to compute it (attention.cu picks one). */
void attention_f32(const struct attention *a);
void attention_f32_backward(const struct attention *a);
void attention_bf16(const struct attention *a);
void attention_bf16_backward(const struct attention *a);
void attention_few(const struct attention *a); /* up to ATTENTION_FEW_ROWS queries behind other keys */
size_t attention_bf16_scratch(int heads, int kv_heads, int head_dim, int64_t rows); /* of the backward pass, which holds more */

#define ATTENTION_FEW_ROWS 16

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

/* The tile of keys from `first` on, and of their values. */
static __device__ __forceinline__ void attention_load_keys(float *k, int k_ld, float *v, int v_ld, const struct attention_args *a, const struct attention_seq *s, int64_t first,
                                                           int kv_head)
{
    int64_t at = first * a->kv_stride + kv_head * a->d;
    attention_load(k, k_ld, s->k + at, a->kv_stride, KEYS, s->k_len - first, a->d);
    attention_load(v, v_ld, s->v + at, a->kv_stride, KEYS, s->k_len - first, a->d);
}

/* `rows` rows of queries from `first` on, and of the gradients of their outputs. */
static __device__ __forceinline__ void attention_load_rows(float *q, float *dout, const struct attention_args *a, const struct attention_seq *s, int64_t first, int rows, int h)
{
    attention_load(q, a->d, a->q + (s->q_row + first) * a->q_stride + h * a->d, a->q_stride, rows, s->q_len - first, a->d);
    attention_load(dout, a->d, a->dout + (s->q_row + first) * a->out_stride + h * a->d, a->out_stride, rows, s->q_len - first, a->d);
}

static __device__ __forceinline__ float attention_dot(const float *a, const float *b, int d)
{
    float sum = 0;
    for (int c = 0; c < d; c++)
        sum = fmaf(a[c], b[c], sum);
    return sum;
}

static __device__ __forceinline__ bool attention_row_sees(const struct attention_args *a, const struct attention_seq *s, int64_t row, int64_t key)
{
    struct attention_span span = attention_span_of(s, a->window, row);
    return attention_sees(&span, key);
}

/* The first tile of `keys` keys, from `first` on, of which one of the rows from_row .. last_row may see something; behind last_row: none. */
static __device__ __forceinline__ int attention_next_keys(const struct attention_args *a, const struct attention_seq *s, int from_row, int last_row, int first, int keys)
{
    while (first <= last_row && attention_hidden(s, a->window, from_row, last_row, first, first + keys - 1))
        first += keys;
    return first;
}

/* The first tile of `rows` rows, from `first` on, that may see something of the keys from_key .. last_key; q_len or more: none. */
static __device__ __forceinline__ int attention_next_rows(const struct attention_args *a, const struct attention_seq *s, int from_key, int last_key, int first, int rows)
{
    int behind = (int)(s->k_len - s->q_len), end = (int)s->q_len;
    while (first < end && attention_hidden(s, a->window, behind + first, behind + (first + rows < end ? first + rows : end) - 1, from_key, last_key))
        first += rows;
    return first;
}

#endif
