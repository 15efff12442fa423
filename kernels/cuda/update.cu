/* Gradient norm and AdamW, in the order of operations of cpu/ref_update.c: the parameters are the same bits as there. */
#include "kernels/cuda/update.h"
#include "kernels/cuda/wide.h"

#include <math.h>
#include <stdlib.h>

extern "C" {
#include "base/mem.h"
}

#define THREADS 256

/* ---- sum of squares ---- */

#define SUM_PIECE 16384 /* elements of a block */

static __global__ void __launch_bounds__(THREADS) squares_kernel(double *partial, const float *x, int64_t count)
{
    int64_t first = (int64_t)blockIdx.x * SUM_PIECE, end = first + SUM_PIECE < count ? first + SUM_PIECE : count;
    __shared__ double parts[THREADS / 32];
    double sum = 0;
    for (int64_t i = first + threadIdx.x; i < end; i += THREADS)
        sum += (double)x[i] * (double)x[i];
    sum = block_sum<THREADS>(sum, parts);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

/* clip_of of cpu/ref_update.c */
static __device__ struct clip clip_of(double squares, double most)
{
    double norm = sqrt(squares), factor = most > 0 ? most / (norm + 1e-6) : 1;
    return {norm, !isfinite(norm) ? NAN : factor < 1 ? (float)factor : 1.0f};
}

static __global__ void __launch_bounds__(THREADS) total_kernel(double *total, struct clip *to, double most, const double *partial, int64_t n)
{
    __shared__ double parts[THREADS / 32];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        sum += partial[i];
    sum = block_sum<THREADS>(sum, parts);
    if (threadIdx.x)
        return;
    if (to)
        *to = clip_of(sum, most);
    else
        *total = sum;
}

/* The sum lies at what is returned, or is used for `to`. NULL: an error that stays. */
static double *squares_there(struct clip *to, double most, const float *x, int64_t count)
{
    int64_t blocks = (count + SUM_PIECE - 1) / SUM_PIECE;
    double *partial = (double *)cuda_scratch(CUDA_SCRATCH_UPDATE, (size_t)(blocks + 1) * sizeof *partial);
    if (!partial)
        return NULL;
    if (blocks)
        LAUNCH(squares_kernel, (unsigned)blocks, THREADS, 0, partial + 1, x, count);
    LAUNCH(total_kernel, 1, THREADS, 0, partial, to, most, partial + 1, blocks);
    return partial;
}

static double sum_squares(const float *x, int64_t count)
{
    double total = NAN, *there = squares_there(NULL, 0, x, count);
    if (there)
        cuda_copy_out(&total, there, sizeof total);
    return total;
}

static void clip(struct clip *to, const float *x, int64_t count, double most)
{
    squares_there(to, most, x, count);
}

/* ---- AdamW ---- */

#define STEP_PIECE 4096 /* elements of a block */

struct tensor {
    float *p, *m, *v;
    const float *grad;
    int64_t count, first_block;
    float decay;
    bool wide;
};

struct factors {
    float b1, b2, c2, eps, step, root;
};

template <int W> static __device__ __forceinline__ void step_piece(const struct tensor *t, int64_t first, int64_t end, const struct factors *f, float gain)
{
    for (int64_t i = first + W * threadIdx.x; i < end; i += W * THREADS) {
        struct floats<W> ps = load<W>(t->p + i), ms = load<W>(t->m + i), vs = load<W>(t->v + i), gs = load<W>(t->grad + i);
        for (int e = 0; e < W; e++) {
            float g = gs.at[e] * gain;
            ms.at[e] += f->b1 * (g - ms.at[e]);
            vs.at[e] = f->b2 * vs.at[e] + f->c2 * (g * g);
            ps.at[e] = ps.at[e] * t->decay - f->step * (ms.at[e] / (sqrtf(vs.at[e]) / f->root + f->eps));
        }
        store<W>(t->p + i, ps);
        store<W>(t->m + i, ms);
        store<W>(t->v + i, vs);
    }
}

static __global__ void __launch_bounds__(THREADS) adamw_kernel(const struct tensor *list, int n, struct factors f, const struct clip *clip)
{
    struct tensor t = tensor_of_block(list, n);
    int64_t first = (blockIdx.x - t.first_block) * STEP_PIECE, end = first + STEP_PIECE < t.count ? first + STEP_PIECE : t.count;
    float gain = clip_factor(clip);
    if (isnan(gain))
        return;
    if (t.wide)
        step_piece<4>(&t, first, end, &f, gain);
    else
        step_piece<1>(&t, first, end, &f, gain);
}

static void launch(const struct adamw_tensor *list, int n, const struct adamw *o)
{
    const struct factors f = {(float)(1 - o->beta1), (float)o->beta2, (float)(1 - o->beta2), (float)o->eps,
                              (float)(o->lr / (1 - pow(o->beta1, (double)o->step))), (float)sqrt(1 - pow(o->beta2, (double)o->step))};
    struct tensor *t = (struct tensor *)mem_array(NULL, (size_t)n, sizeof *t);
    int64_t blocks = 0;
    for (int i = 0; i < n; i++) {
        const struct adamw_tensor *a = &list[i];
        bool wide = a->count % 4 == 0 && wide_pointer(a->p) && wide_pointer(a->m) && wide_pointer(a->v) && wide_pointer(a->grad);
        t[i] = {a->p, a->m, a->v, a->grad, a->count, blocks, (float)(1 - o->lr * a->weight_decay), wide};
        blocks += (a->count + STEP_PIECE - 1) / STEP_PIECE;
    }
    const struct tensor *there = (const struct tensor *)cuda_upload(t, (size_t)n * sizeof *t);
    free(t);
    if (there && blocks)
        LAUNCH(adamw_kernel, (unsigned)blocks, THREADS, 0, there, n, f, o->clip);
}

static void adamw(const struct adamw_tensor *list, int n, const struct adamw *o)
{
    for (int i = 0; i < n; i += TENSORS_AT_ONCE)
        launch(list + i, n - i < TENSORS_AT_ONCE ? n - i : TENSORS_AT_ONCE, o);
}

void cuda_fill_adamw_8bit(struct kernels *k);

void cuda_fill_update(struct kernels *k)
{
    k->sum_squares = sum_squares;
    k->clip = clip;
    k->adamw = adamw;
    cuda_fill_adamw_8bit(k);
}
