/* Attention of few query rows behind many keys, in f32: what it costs is to read the keys and values. A block has CHUNK keys of a key/value head, counted from the
 * beginning of the sample, and up to QUERIES of the pairs of a row and a head that read them; for each pair it leaves the largest score, the sum of the
 * probabilities and the sum of the values, which a second kernel puts together in the order of the chunks. What a row gets depends on no other row. */
#include "kernels/cuda/attention_tile.h"
#include "kernels/cuda/wide.h"

#include <stdlib.h>

#define THREADS 128
#define WARPS (THREADS / 32)
#define CHUNK 128
#define QUERIES 8

/* A block's keys and pairs. Pair x of a head's group is row x / group and head x % group of it. */
struct chunk {
    int32_t seq, first_pair;
    int64_t first_key, result; /* of row 0 and head 0; in units of one row and head */
};

/* A row: the results of its chunks. */
struct few_row {
    int64_t row, result;
    int32_t chunks, step, first_chunk; /* step: from one chunk to the next */
};

struct few_args {
    struct attention_args a;
    const struct chunk *chunks;
    const struct few_row *rows;
    float *acc, *top, *sum; /* (results, D), (results) twice */
};

/* Eight sums over 8 lanes each; lane i gets the i-th. */
static __device__ __forceinline__ float sum_of_eight(float v[QUERIES])
{
    int lane = threadIdx.x;
#pragma unroll
    for (int by = 4; by > 0; by /= 2)
#pragma unroll
        for (int j = 0; j < by; j++) {
            bool upper = lane & by;
            float send = upper ? v[j] : v[j + by], keep = upper ? v[j + by] : v[j];
            v[j] = keep + __shfl_xor_sync(ALL_LANES, send, by);
        }
    return v[0];
}

/* 8 lanes have a key: PARTS times 32 elements; 4 keys of a warp at a time, twice. z[key][pair] */
template <int PARTS, int W>
static __device__ __forceinline__ void scores(float (*z)[QUERIES], const float *q, const struct attention_args *a, const struct attention_seq *s, int64_t first_key, int kv_head,
                                              int64_t row)
{
    int d = a->d, lane = threadIdx.x % 32, from = threadIdx.x / 32 * (CHUNK / WARPS) + lane / 8;
    struct attention_span span = attention_span_of(s, a->window, row);
    for (int i = from; i < from + CHUNK / WARPS; i += 8) {
        struct floats<4> k[2][PARTS];
        float sum[2][QUERIES];
        __syncwarp(); /* the queries are read again for these keys: all of them would take more registers than there are */
#pragma unroll
        for (int two = 0; two < 2; two++)
#pragma unroll
            for (int p = 0; p < PARTS; p++) {
                int64_t key = first_key + i + 4 * two;
                int c = 32 * p + lane % 8 * 4;
                k[two][p] = key < s->k_len && c < d ? load_four<W>(s->k + key * a->kv_stride + kv_head * d, c, d) : floats<4>{};
            }
#pragma unroll
        for (int x = 0; x < QUERIES; x++) {
            sum[0][x] = sum[1][x] = 0;
#pragma unroll
            for (int p = 0; p < PARTS; p++) {
                struct floats<4> y = load<4>(q + x * 32 * PARTS + 32 * p + lane % 8 * 4);
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    sum[0][x] = fmaf(y.at[e], k[0][p].at[e], sum[0][x]);
                    sum[1][x] = fmaf(y.at[e], k[1][p].at[e], sum[1][x]);
                }
            }
        }
#pragma unroll
        for (int two = 0; two < 2; two++) {
            float score = attention_score(a, sum_of_eight(sum[two]));
            z[i + 4 * two][lane % 8] = attention_sees(&span, first_key + i + 4 * two) ? score : -INFINITY;
        }
    }
}

/* A warp has pairs; scores become probabilities before division by their sum. */
static __device__ __forceinline__ void probabilities(float (*z)[QUERIES], float top[QUERIES], float sum[QUERIES])
{
    int lane = threadIdx.x % 32;
    for (int x = threadIdx.x / 32; x < QUERIES; x += WARPS) {
        float most = -INFINITY, all = 0;
#pragma unroll
        for (int i = 0; i < CHUNK; i += 32)
            most = fmaxf(most, z[i + lane][x]);
        most = warp_max(most);
#pragma unroll
        for (int i = 0; i < CHUNK; i += 32) {
            float p = most == -INFINITY ? 0 : expf(z[i + lane][x] - most);
            z[i + lane][x] = p;
            all += p;
        }
        all = warp_sum(all);
        if (lane == 0)
            top[x] = most, sum[x] = all;
    }
}

/* A warp has 4 LANES PARTS columns; LANES lanes have a row of values. */
template <int LANES, int PARTS, int W>
static __device__ __forceinline__ void sum_values(struct floats<4> acc[QUERIES][PARTS], const float (*z)[QUERIES], const struct attention_args *a, const struct attention_seq *s,
                                                  int64_t first_key, int kv_head, int column)
{
    int d = a->d, lane = threadIdx.x % 32;
#pragma unroll
    for (int x = 0; x < QUERIES; x++)
#pragma unroll
        for (int p = 0; p < PARTS; p++)
            acc[x][p] = {};
#pragma unroll 8 / PARTS
    for (int i = lane / LANES; i < CHUNK; i += 32 / LANES) {
        const float *value = s->v + (first_key + i) * a->kv_stride + kv_head * d;
        struct floats<4> low = load<4>(z[i]), high = load<4>(z[i] + 4), v[PARTS];
#pragma unroll
        for (int p = 0; p < PARTS; p++) {
            int c = column + 4 * LANES * p;
            v[p] = first_key + i < s->k_len && c < d ? load_four<W>(value, c, d) : floats<4>{};
        }
#pragma unroll
        for (int x = 0; x < QUERIES; x++)
#pragma unroll
            for (int p = 0; p < PARTS; p++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    acc[x][p].at[e] = fmaf(x < 4 ? low.at[x % 4] : high.at[x % 4], v[p].at[e], acc[x][p].at[e]);
    }
#pragma unroll
    for (int x = 0; x < QUERIES; x++)
#pragma unroll
        for (int p = 0; p < PARTS; p++)
#pragma unroll
            for (int e = 0; e < 4; e++)
#pragma unroll
                for (int by = LANES; by < 32; by *= 2)
                    acc[x][p].at[e] += __shfl_xor_sync(ALL_LANES, acc[x][p].at[e], by);
}

/* Heads of up to 32 PARTS elements. */
template <int PARTS, int W> static __global__ void __launch_bounds__(THREADS, PARTS <= 4 ? 4 : 3) chunk_kernel(struct few_args f)
{
    constexpr int LANES = PARTS < 4 ? 4 : 8, EACH = PARTS <= 4 ? 1 : PARTS / 4;
    __shared__ __align__(16) float q[QUERIES * 32 * PARTS], z[CHUNK][QUERIES];
    __shared__ float top[QUERIES], sum[QUERIES];
    const struct attention_args &a = f.a;
    const struct chunk chunk = f.chunks[blockIdx.x];
    const struct attention_seq &s = a.seq[chunk.seq];
    int group = a.heads / a.kv_heads, pairs = (int)s.q_len * group - chunk.first_pair, d = a.d, lane = threadIdx.x % 32;
    for (int e = threadIdx.x; e < QUERIES * 32 * PARTS; e += THREADS) {
        int x = e / (32 * PARTS), c = e % (32 * PARTS), pair = chunk.first_pair + x;
        q[e] = x < pairs && c < d ? a.q[(s.q_row + pair / group) * a.q_stride + (blockIdx.y * group + pair % group) * d + c] : 0;
    }
    __syncthreads();
    scores<PARTS, W>(z, q, &a, &s, chunk.first_key, blockIdx.y, s.k_len - s.q_len + (chunk.first_pair + lane % 8) / group);
    __syncthreads();
    probabilities(z, top, sum);
    __syncthreads();
    struct floats<4> acc[QUERIES][EACH];
    int column = threadIdx.x / 32 * 4 * LANES * EACH + lane % LANES * 4;
    sum_values<LANES, EACH, W>(acc, z, &a, &s, chunk.first_key, blockIdx.y, column);
#pragma unroll
    for (int x = 0; x < QUERIES; x++) {
        int pair = chunk.first_pair + x;
        int64_t to = chunk.result + pair / group * a.heads + blockIdx.y * group + pair % group;
        if (x >= pairs || lane >= LANES)
            continue;
#pragma unroll
        for (int p = 0; p < EACH; p++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (column + 4 * LANES * p + e < d)
                    f.acc[to * d + column + 4 * LANES * p + e] = acc[x][p].at[e];
        if (threadIdx.x == 0)
            f.top[to] = top[x], f.sum[to] = sum[x];
    }
}

/* A warp adds every WARPS-th chunk of a row and head, and the warps' sums are added in order. */
template <int PARTS> static __global__ void __launch_bounds__(THREADS) combine_kernel(struct few_args f)
{
    __shared__ float part[WARPS][32 * PARTS + 1];
    const struct few_row row = f.rows[blockIdx.x];
    int h = blockIdx.y, d = f.a.d, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float most = -INFINITY, sum = 0, acc[PARTS];
    for (int i = lane; i < row.chunks; i += 32)
        most = fmaxf(most, f.top[row.result + (int64_t)i * row.step + h]);
    most = warp_max(most);
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        acc[p] = 0;
#pragma unroll 2
    for (int i = (warp - row.first_chunk % WARPS + WARPS) % WARPS; i < row.chunks; i += WARPS) {
        int64_t at = row.result + (int64_t)i * row.step + h;
        float by = expf(f.top[at] - most);
        sum = fmaf(f.sum[at], by, sum);
#pragma unroll
        for (int p = 0; p < PARTS; p++)
            if (32 * p + lane < d)
                acc[p] = fmaf(f.acc[at * d + 32 * p + lane], by, acc[p]);
    }
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        part[warp][32 * p + lane] = acc[p];
    if (lane == 0)
        part[warp][32 * PARTS] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < WARPS; w++)
        sum += part[w][32 * PARTS];
    for (int c = threadIdx.x; c < d; c += THREADS) {
        float out = 0;
        for (int w = 0; w < WARPS; w++)
            out += part[w][c];
        f.a.out[row.row * f.a.out_stride + h * d + c] = out / sum;
    }
    if (f.a.lse && threadIdx.x == 0)
        f.a.lse[row.row * f.a.heads + h] = most + logf(sum);
}

/* ---- lists ---- */

struct lists {
    struct chunk *chunks;
    struct few_row *rows;
    int64_t n_chunks, n_rows, results;
};

/* The sample's chunks from the first that its first row may see. */
static void add_sample(struct lists *l, const struct attention *a, int i)
{
    const struct attention_seq *s = &a->seq[i];
    int64_t behind = s->k_len - s->q_len, first = attention_span_of(s, a->window, behind).low / CHUNK, count = (s->k_len + CHUNK - 1) / CHUNK - first;
    int64_t step = s->q_len * a->heads, pairs = s->q_len * (a->heads / a->kv_heads);
    for (int64_t c = 0; c < count; c++)
        for (int64_t pair = 0; pair < pairs; pair += QUERIES, l->n_chunks++)
            if (l->chunks)
                l->chunks[l->n_chunks] = {i, (int32_t)pair, (first + c) * CHUNK, l->results + c * step};
    for (int64_t r = 0; r < s->q_len; r++, l->n_rows++)
        if (l->rows)
            l->rows[l->n_rows] = {s->q_row + r, l->results + r * a->heads, (int32_t)count, (int32_t)step, (int32_t)first};
    l->results += count * step;
}

/* Counts first, then fills. */
static bool make_lists(struct few_args *f, struct lists *l, const struct attention *a)
{
    *l = {NULL, NULL, 0, 0, 0};
    for (int i = 0; i < a->n_seq; i++)
        add_sample(l, a, i);
    if (!l->n_rows)
        return false;
    l->chunks = (struct chunk *)malloc((size_t)l->n_chunks * sizeof *l->chunks);
    l->rows = (struct few_row *)malloc((size_t)l->n_rows * sizeof *l->rows);
    if (l->chunks && l->rows) {
        l->n_chunks = l->n_rows = l->results = 0;
        for (int i = 0; i < a->n_seq; i++)
            add_sample(l, a, i);
        f->chunks = (const struct chunk *)cuda_upload(l->chunks, (size_t)l->n_chunks * sizeof *l->chunks);
        f->rows = (const struct few_row *)cuda_upload(l->rows, (size_t)l->n_rows * sizeof *l->rows);
    } else {
        cuda_failed("cannot get memory for %lld chunks of attention", (long long)l->n_chunks);
    }
    free(l->chunks);
    free(l->rows);
    return f->chunks && f->rows;
}

template <int PARTS, int W> static void launch(const struct few_args *f, const struct lists *l)
{
    LAUNCH((chunk_kernel<PARTS, W>), dim3((unsigned)l->n_chunks, (unsigned)f->a.kv_heads), THREADS, 0, *f);
    LAUNCH((combine_kernel<PARTS>), dim3((unsigned)l->n_rows, (unsigned)f->a.heads), THREADS, 0, *f);
}

static bool is_wide(const struct attention *a)
{
    bool wide = a->head_dim % 4 == 0 && a->kv_stride % 4 == 0;
    for (int i = 0; i < a->n_seq; i++)
        wide = wide && wide_pointer(a->seq[i].k) && wide_pointer(a->seq[i].v);
    return wide;
}

void attention_few(const struct attention *a)
{
    struct few_args f = {};
    struct lists l;
    int d = a->head_dim;
    if (!attention_begin(&f.a, a) || !make_lists(&f, &l, a))
        return;
    float *p = (float *)cuda_scratch(CUDA_SCRATCH_ATTENTION, (size_t)l.results * (size_t)(d + 2) * sizeof *p);
    if (!p)
        return;
    f.acc = p, f.top = p + l.results * d, f.sum = f.top + l.results;
    if (is_wide(a))
        (d <= 64 ? launch<2, 4> : d <= 128 ? launch<4, 4> : launch<8, 4>)(&f, &l);
    else
        (d <= 64 ? launch<2, 1> : d <= 128 ? launch<4, 1> : launch<8, 1>)(&f, &l);
}
