/* What tensor cores read again and again, rounded to bf16 first: one reading of f32 saves half the bytes of each tile that comes later. Of so many
 * heads at a time as ATTENTION_ROUNDED_BYTES hold. */
#include "kernels/cuda/attention_mma.h"

#define THREADS 256

static int64_t kv_rows_of(const struct attention *a)
{
    int64_t rows = 0;
    for (int i = 0; i < a->n_seq; i++)
        rows += a->seq[i].k_len;
    return rows;
}

/* A block has `rows` rows of a head, of the first array (blockIdx.z 0) or the second: keys and values, or queries and gradients of the output. */
static __global__ void __launch_bounds__(THREADS) round_kernel(uint16_t *first, uint16_t *second, struct attention_args a, struct attention_rounded r, bool keys, int rows, int size)
{
    struct attention_work work = a.work[blockIdx.x];
    struct attention_seq s = a.seq[work.seq];
    int head = blockIdx.y, per = size / 8;
    int64_t left = (keys ? s.k_len : s.q_len) - work.first, stride, to_row;
    const float *from;
    uint16_t *to = blockIdx.z ? second : first;
    if (keys) {
        from = (blockIdx.z ? s.v : s.k) + work.first * a.kv_stride + (r.first_kv_head + head) * a.d;
        stride = a.kv_stride, to_row = head * r.kv_rows + work.keys_before + work.first;
    } else {
        stride = blockIdx.z ? a.out_stride : a.q_stride, to_row = head * r.q_rows + s.q_row + work.first;
        from = (blockIdx.z ? a.dout : a.q) + (s.q_row + work.first) * stride + (r.first_kv_head * r.group + head) * a.d;
    }
    bool wide = attention_is_wide(from, stride, a.d);
    for (int e = threadIdx.x; e < rows * per; e += THREADS) {
        int i = e / per, c = e % per * 8;
        if (i < left)
            *(uint4 *)(to + (to_row + i) * size + c) = attention_eight(from + i * stride, c, a.d, wide);
    }
}

/* delta and lse / log 2 by head: a warp has a row of a head. */
static __global__ void __launch_bounds__(THREADS) row_sums_kernel(float *lse, float *delta, struct attention_args a, struct attention_rounded r, int rows)
{
    struct attention_work work = a.work[blockIdx.x];
    struct attention_seq s = a.seq[work.seq];
    int lane = threadIdx.x % 32, h = r.first_kv_head * r.group + blockIdx.y;
    for (int i = threadIdx.x / 32; i < rows && work.first + i < s.q_len; i += THREADS / 32) {
        int64_t row = s.q_row + work.first + i, at = row * a.out_stride + h * a.d;
        float sum = 0;
        for (int c = lane; c < a.d; c += 32)
            sum = fmaf(a.dout[at + c], a.att[at + c], sum);
        sum = warp_sum(sum);
        if (lane == 0) {
            delta[blockIdx.y * r.q_rows + row] = sum;
            lse[blockIdx.y * r.q_rows + row] = a.lse[row * a.heads + h] * LOG2_E;
        }
    }
}

bool attention_lists_make(struct attention_lists *l, const struct attention *a, int rows_each)
{
    if (!attention_begin(&l->rows, a))
        return false;
    l->keys = l->rows;
    l->rows_each = rows_each;
    return attention_tiles(&l->rows, a, rows_each, false, &l->row_tiles) && attention_tiles(&l->keys, a, MMA_KEYS, true, &l->key_tiles);
}

/* ---- memory ---- */

struct sizes {
    size_t kv, q, sums; /* bytes of one array for one key/value head */
};

static struct sizes sizes_of(int group, int head_dim, int64_t kv_rows, int64_t q_rows)
{
    int size = attention_size(head_dim);
    return {(size_t)(kv_rows * size) * sizeof(uint16_t), (size_t)(group * q_rows * size) * sizeof(uint16_t), (size_t)(group * q_rows) * sizeof(float)};
}

static size_t bytes_of(struct sizes s, bool backward)
{
    return 2 * s.kv + (backward ? 2 * s.q + 2 * s.sums : 0);
}

/* Of all heads, so that every part but the last is as large as the others. */
static int heads_at_once(int kv_heads, size_t bytes)
{
    int most = (int)(ATTENTION_ROUNDED_BYTES / (bytes ? bytes : 1)), parts;
    most = most < 1 ? 1 : most > kv_heads ? kv_heads : most;
    parts = (kv_heads + most - 1) / most;
    return (kv_heads + parts - 1) / parts;
}

size_t attention_bf16_scratch(int heads, int kv_heads, int head_dim, int64_t rows)
{
    size_t each = bytes_of(sizes_of(heads / kv_heads, head_dim, rows, (rows + 7) / 8 * 8), true);
    return each * (size_t)heads_at_once(kv_heads, each);
}

void attention_round(const struct attention_lists *l, const struct attention *a, bool backward, void (*then)(const struct attention_lists *l, const struct attention_rounded *r))
{
    struct attention_rounded r = {NULL, NULL, NULL, NULL, NULL, NULL, kv_rows_of(a), (attention_rows(a) + 7) / 8 * 8, 0, 0, a->heads / a->kv_heads};
    struct sizes each = sizes_of(r.group, a->head_dim, r.kv_rows, r.q_rows);
    int size = attention_size(a->head_dim), at_once = heads_at_once(a->kv_heads, bytes_of(each, backward));
    char *k = (char *)cuda_scratch(CUDA_SCRATCH_ATTENTION, (size_t)at_once * bytes_of(each, backward)), *q = k + 2 * (size_t)at_once * each.kv,
         *sums = q + 2 * (size_t)at_once * each.q;
    if (!k || !l->key_tiles)
        return;
    r.k = (uint16_t *)k, r.v = (uint16_t *)(k + (size_t)at_once * each.kv);
    if (backward) {
        r.q = (uint16_t *)q, r.dout = (uint16_t *)(q + (size_t)at_once * each.q);
        r.lse = (float *)sums, r.delta = (float *)(sums + (size_t)at_once * each.sums);
    }
    for (; r.first_kv_head < a->kv_heads; r.first_kv_head += r.kv_heads) {
        r.kv_heads = a->kv_heads - r.first_kv_head < at_once ? a->kv_heads - r.first_kv_head : at_once;
        LAUNCH(round_kernel, dim3(l->key_tiles, (unsigned)r.kv_heads, 2), THREADS, 0, (uint16_t *)r.k, (uint16_t *)r.v, l->keys, r, true, MMA_KEYS, size);
        if (backward && l->row_tiles) {
            unsigned heads = (unsigned)(r.kv_heads * r.group);
            LAUNCH(round_kernel, dim3(l->row_tiles, heads, 2), THREADS, 0, (uint16_t *)r.q, (uint16_t *)r.dout, l->rows, r, false, l->rows_each, size);
            LAUNCH(row_sums_kernel, dim3(l->row_tiles, heads), THREADS, 0, (float *)r.lse, (float *)r.delta, l->rows, r, l->rows_each);
        }
        then(l, &r);
    }
}
