/* Gradient norm and AdamW, in the order of operations of cpu/ref_update.c: the parameters are the same bits as there. */
#include "kernels/cuda/table.h"
#include "kernels/cuda/wide.h"

#include <math.h>

#define THREADS 256

/* ---- sum of squares ---- */

#define SUM_PIECE 16384 /* elements of a block */

static __device__ __forceinline__ double block_sum_double(double x)
{
    __shared__ double parts[THREADS / 32];
    for (int by = 16; by > 0; by /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, by);
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (int w = 0; w < THREADS / 32; w++)
        x += parts[w];
    return x;
}

static __global__ void __launch_bounds__(THREADS) squares_kernel(double *partial, const float *x, int64_t count)
{
    int64_t first = (int64_t)blockIdx.x * SUM_PIECE, end = first + SUM_PIECE < count ? first + SUM_PIECE : count;
    double sum = 0;
    for (int64_t i = first + threadIdx.x; i < end; i += THREADS)
        sum += (double)x[i] * (double)x[i];
    sum = block_sum_double(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(THREADS) total_kernel(double *total, const double *partial, int64_t n)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        sum += partial[i];
    sum = block_sum_double(sum);
    if (threadIdx.x == 0)
        *total = sum;
}

static double sum_squares(const float *x, int64_t count)
{
    double total = 0;
    int64_t blocks = (count + SUM_PIECE - 1) / SUM_PIECE;
    if (count <= 0)
        return 0;
    double *partial = (double *)cuda_scratch(CUDA_SCRATCH_UPDATE, (size_t)(blocks + 1) * sizeof *partial);
    if (!partial)
        return NAN;
    LAUNCH(squares_kernel, (unsigned)blocks, THREADS, 0, partial + 1, x, count);
    LAUNCH(total_kernel, 1, THREADS, 0, partial, partial + 1, blocks);
    cuda_copy_out(&total, partial, sizeof total);
    return total;
}

/* ---- AdamW ---- */

struct factors {
    float decay, b1, b2, c2, eps, step, root, gain;
};

template <int W> static __global__ void adamw_kernel(float *p, float *m, float *v, const float *grad, int64_t count, struct factors f)
{
    for (int64_t i = W * grid_thread(); i < count; i += W * grid_threads()) {
        struct floats<W> ps = load<W>(p + i), ms = load<W>(m + i), vs = load<W>(v + i), gs = load<W>(grad + i);
        for (int e = 0; e < W; e++) {
            float g = gs.at[e] * f.gain;
            ms.at[e] += f.b1 * (g - ms.at[e]);
            vs.at[e] = f.b2 * vs.at[e] + f.c2 * (g * g);
            ps.at[e] = ps.at[e] * f.decay - f.step * (ms.at[e] / (sqrtf(vs.at[e]) / f.root + f.eps));
        }
        store<W>(p + i, ps);
        store<W>(m + i, ms);
        store<W>(v + i, vs);
    }
}

static void adamw(float *p, float *m, float *v, const float *grad, int64_t count, const struct adamw *o)
{
    struct factors f = {(float)(1 - o->lr * o->weight_decay), (float)(1 - o->beta1), (float)o->beta2, (float)(1 - o->beta2), (float)o->eps,
                        (float)(o->lr / (1 - pow(o->beta1, (double)o->step))), (float)sqrt(1 - pow(o->beta2, (double)o->step)), o->grad_scale};
    if (count <= 0)
        return;
    if (count % 4 == 0 && wide_pointer(p) && wide_pointer(m) && wide_pointer(v) && wide_pointer(grad))
        LAUNCH(adamw_kernel<4>, grid_for(count / 4, THREADS), THREADS, 0, p, m, v, grad, count, f);
    else
        LAUNCH(adamw_kernel<1>, grid_for(count, THREADS), THREADS, 0, p, m, v, grad, count, f);
}

void cuda_fill_adamw_8bit(struct kernels *k);

void cuda_fill_update(struct kernels *k)
{
    k->sum_squares = sum_squares;
    k->adamw = adamw;
    cuda_fill_adamw_8bit(k);
}
