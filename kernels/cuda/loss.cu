/* Cross entropy and statistics of rows of scores. A block has a row; of its groups of four scores, thread t has every THREADS-th from the
 * t-th, whether it reads them in one piece or singly, so that the bits depend on the row alone. Each thread keeps its own largest score and the sum of
 * exponentials beside it (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018), in f32; the threads' sums are joined in
 * double. */
#include "kernels/cuda/table.h"
#include "kernels/cuda/wide.h"

#define THREADS 256
#define WARPS (THREADS / 32)

/* Sums of exp(z - top), and, for row_stats, of exp(z - top) (z - top), of its square and of z. */
struct sums {
    float top, exps, weighted, squares, plain;
};

static __device__ __forceinline__ void sums_add(struct sums *s, float z)
{
    if (z == -INFINITY) /* adds nothing, and must not become the largest */
        return;
    if (z > s->top) {
        float by = s->top == -INFINITY ? 0 : expf(s->top - z);
        s->exps = s->exps * by + 1 + (z - z); /* an infinity makes NaN of all */
        s->top = z;
    } else {
        s->exps += expf(z - s->top);
    }
}

/* What a block knows of its row. */
struct row_sums {
    float top;
    double exps;
};

template <int W> static __device__ struct row_sums sum_row(const float *z, int64_t v)
{
    __shared__ float tops[WARPS];
    __shared__ double parts[WARPS];
    struct sums s = {-INFINITY, 0, 0, 0, 0};
    struct row_sums r;
    for (int64_t j = 4 * (int64_t)threadIdx.x; j < v; j += 4 * THREADS) {
        struct floats<4> four = load_four<W>(z, j, v);
        for (int e = 0; e < 4; e++)
            if (j + e < v)
                sums_add(&s, four.at[e]);
    }
    r.top = warp_max(s.top);
    __syncthreads(); /* tops may still be read from before */
    if (threadIdx.x % 32 == 0)
        tops[threadIdx.x / 32] = r.top;
    __syncthreads();
    for (int w = 0; w < WARPS; w++)
        r.top = fmaxf(r.top, tops[w]);
    double part = s.top == -INFINITY ? (double)s.exps : (double)s.exps * exp((double)s.top - (double)r.top);
    r.exps = block_sum<THREADS>(part, parts);
    return r;
}

template <int W>
static __global__ void __launch_bounds__(THREADS) cross_entropy_kernel(float *loss, float *logits, const int32_t *targets, float grad_scale, int64_t v)
{
    int64_t i = blockIdx.x;
    float *z = logits + i * v;
    int32_t target = targets[i];
    struct row_sums r = {0, 1};
    if (target >= 0) {
        r = sum_row<W>(z, v);
        if (threadIdx.x == 0)
            loss[i] = (float)((double)r.top + log(r.exps) - (double)z[target]);
        __syncthreads(); /* z[target] is read */
    } else if (threadIdx.x == 0) {
        loss[i] = 0;
    }
    if (grad_scale == 0)
        return;
    float sum = (float)r.exps;
    for (int64_t j = 4 * (int64_t)threadIdx.x; j < v; j += 4 * THREADS) {
        struct floats<4> four = {};
        if (target >= 0)
            four = load_four<W>(z, j, v);
        for (int e = 0; e < 4; e++)
            four.at[e] = target < 0 ? 0 : (expf(four.at[e] - r.top) / sum - (j + e == target ? 1.0f : 0.0f)) * grad_scale;
        store_four<W>(z, j, v, four);
    }
}

static bool by_four(const float *logits, int64_t v)
{
    return wide_pointer(logits) && v % 4 == 0;
}

static void cross_entropy(float *loss, float *logits, const int32_t *targets, float grad_scale, int64_t n, int64_t v)
{
    if (n <= 0)
        return;
    if (by_four(logits, v))
        LAUNCH(cross_entropy_kernel<4>, (unsigned)n, THREADS, 0, loss, logits, targets, grad_scale, v);
    else
        LAUNCH(cross_entropy_kernel<1>, (unsigned)n, THREADS, 0, loss, logits, targets, grad_scale, v);
}

/* ---- statistics ---- */

/* With e = exp(z - top) and S = sum e: entropy = log S - sum e (z - top) / S. */
template <int W> static __global__ void __launch_bounds__(THREADS) row_stats_kernel(float *mean, float *entropy, float *squares, const float *logits, int64_t v)
{
    __shared__ double parts[WARPS];
    const float *z = logits + (int64_t)blockIdx.x * v;
    struct row_sums r = sum_row<W>(z, v);
    float plain = 0, weighted = 0, second = 0;
    for (int64_t j = 4 * (int64_t)threadIdx.x; j < v; j += 4 * THREADS) {
        struct floats<4> four = load_four<W>(z, j, v);
        for (int e = 0; e < 4 && j + e < v; e++) {
            float d = four.at[e] - r.top, x = expf(d);
            plain += four.at[e];
            weighted += x > 0 ? x * d : 0;
            second += x * x;
        }
    }
    double a = block_sum<THREADS>((double)plain, parts), b = block_sum<THREADS>((double)weighted, parts), c = block_sum<THREADS>((double)second, parts);
    if (threadIdx.x)
        return;
    if (mean)
        mean[blockIdx.x] = (float)(a / (double)v);
    if (entropy)
        entropy[blockIdx.x] = (float)(log(r.exps) - b / r.exps);
    if (squares)
        squares[blockIdx.x] = (float)(c / (r.exps * r.exps));
}

static void row_stats(float *mean, float *entropy, float *squares, const float *logits, int64_t n, int64_t v)
{
    if (n <= 0)
        return;
    if (by_four(logits, v))
        LAUNCH(row_stats_kernel<4>, (unsigned)n, THREADS, 0, mean, entropy, squares, logits, v);
    else
        LAUNCH(row_stats_kernel<1>, (unsigned)n, THREADS, 0, mean, entropy, squares, logits, v);
}

void cuda_fill_loss(struct kernels *k)
{
    k->cross_entropy = cross_entropy;
    k->row_stats = row_stats;
}
