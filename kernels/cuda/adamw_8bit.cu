/* AdamW with moments of 8 bits, in the order of operations of cpu/ref_adamw_8bit.c (Dettmers et al., "8-bit optimizers via block-wise
 * quantization", ICLR 2022): the same bits as there. One launch for all tensors; a block of threads has a block of elements. */
#include "kernels/cuda/update.h"

#include <math.h>
#include <stdlib.h>

extern "C" {
#include "base/mem.h"
#include "kernels/cpu/state_codes.h"
}

#define THREADS ADAMW_8BIT_BLOCK

struct tensor {
    float *p;
    const float *grad;
    uint8_t *m, *v;
    float *m_max, *v_max;
    int64_t count, first_block;
    float decay;
};

struct factors {
    float b1, c1, b2, c2, root, eps, step;
};

static __device__ __forceinline__ float block_largest(float x, float *parts)
{
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = x;
    __syncthreads();
    for (int w = 0; w < THREADS / 32; w++)
        x = fmaxf(x, parts[w]);
    return x;
}

/* dynamic_map_index; the place of what is no number is the first. */
static __device__ __forceinline__ uint8_t code_of(const struct state_codes *c, float v)
{
    float clamped = v > -1 ? v < 1 ? v : 1.0f : -1.0f;
    return c->bins[(int)((clamped + 1) * 0.5f * (DYNAMIC_MAP_BINS - 1) + 0.5f)];
}

static __device__ __forceinline__ void encode(uint8_t *code, float *largest, float x, bool mine, const struct state_codes *c, float *parts)
{
    float top = block_largest(mine && fabsf(x) > 0 ? fabsf(x) : 0, parts);
    if (mine)
        *code = top == 0 ? 0 : code_of(c, x * (1 / top));
    if (threadIdx.x == 0)
        *largest = top;
}

static __global__ void __launch_bounds__(THREADS) adamw_8bit_kernel(const struct tensor *list, int n, const struct state_tables *tables, struct factors f,
                                                                    const struct clip *clip)
{
    __shared__ float parts[THREADS / 32];
    struct tensor t = tensor_of_block(list, n);
    float gain = clip_factor(clip);
    if (isnan(gain))
        return;
    int64_t block = blockIdx.x - t.first_block, i = block * THREADS + threadIdx.x;
    bool mine = i < t.count;
    float m = 0, v = 0;
    if (mine) {
        float g = t.grad[i] * gain;
        m = fmaf(g, f.c1, tables->m.map[t.m[i]] * t.m_max[block] * f.b1);
        v = fmaf(f.c2 * g, g, tables->v.map[t.v[i]] * t.v_max[block] * f.b2);
        t.p[i] = t.p[i] * t.decay + f.step * m / (sqrtf(v) / f.root + f.eps);
    }
    __syncthreads(); /* the old scales are read */
    encode(mine ? t.m + i : NULL, t.m_max + block, m, mine, &tables->m, parts);
    encode(mine ? t.v + i : NULL, t.v_max + block, v, mine, &tables->v, parts);
}

static const struct state_tables *tables_there(void)
{
    static struct state_tables *there;
    struct err e = ERR_INIT;
    if (!there && (there = (struct state_tables *)cuda_alloc(sizeof *there, &e)))
        cuda_copy_in(there, state_tables(), sizeof *there);
    return there;
}

static void launch(const struct adamw_8bit *list, int n, const struct adamw *o)
{
    struct factors f = {(float)o->beta1, (float)(1 - o->beta1), (float)o->beta2, (float)(1 - o->beta2), (float)sqrt(1 - pow(o->beta2, (double)o->step)),
                        (float)o->eps, (float)(-o->lr / (1 - pow(o->beta1, (double)o->step)))};
    struct tensor *t = (struct tensor *)mem_array(NULL, (size_t)n, sizeof *t);
    int64_t blocks = 0;
    for (int i = 0; i < n; i++) {
        t[i] = {list[i].p, list[i].grad, list[i].m, list[i].v, list[i].m_max, list[i].v_max, list[i].count, blocks, (float)(1 - o->lr * list[i].weight_decay)};
        blocks += adamw_8bit_blocks(list[i].count);
    }
    const struct tensor *there = (const struct tensor *)cuda_upload(t, (size_t)n * sizeof *t);
    const struct state_tables *tables = tables_there();
    free(t);
    if (there && tables && blocks)
        LAUNCH(adamw_8bit_kernel, (unsigned)blocks, THREADS, 0, there, n, tables, f, o->clip);
}

static void adamw_8bit(const struct adamw_8bit *list, int n, const struct adamw *o)
{
    for (int i = 0; i < n; i += TENSORS_AT_ONCE)
        launch(list + i, n - i < TENSORS_AT_ONCE ? n - i : TENSORS_AT_ONCE, o);
}

void cuda_fill_adamw_8bit(struct kernels *k)
{
    k->adamw_8bit = adamw_8bit;
}
