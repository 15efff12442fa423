/* The product of few rows by tensor cores, over any kind of weight: what few_dense.cu, few_codes.cu and few_words.cu have in common.
 *
 * The speed is that of reading W once. On an H200 a multiprocessor gets 20 bytes of it a cycle, which are 10 weights of 16 bits or 40 of 4, and has 128
 * lanes a cycle for all that is done to them: M multiplications of each are too many from M = 4 on, and for 4 bits from the first. So all M take
 * the same instruction, mma m16n8k16, whose 16 rows are outputs and whose 8 columns are rows of A, padded: 8 weights a lane in one (M <= 8), and a
 * column's bits depend on nothing beside it.
 *
 * A lane takes weights as they lie, 16 bytes at a time where the layout has them, W::depth steps ahead of their use. Which input a place in the
 * instruction stands for is then the layout's choice: A's rows lie in shared memory in that order (W::run).
 *
 * A block of WARPS warps has FEW_OUTPUTS * TILES outputs side by side, and no block has more or less to read than another: the steps of all tiles of outputs,
 * one after another, are cut into as many equal parts as blocks are resident at once. Sums of a tile that several blocks share lie in scratch
 * memory, and the last of these blocks adds them up in their order. The cut depends on n, k, the layout and the device alone. */
#ifndef KERNELS_CUDA_FEW_TENSOR_H
#define KERNELS_CUDA_FEW_TENSOR_H

extern "C" {
#include "kernels/cuda/few.h"
}
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/stored.h"

#define FEW_WARPS 4
#define FEW_THREADS (32 * FEW_WARPS)
#define FEW_SLICE 32      /* inputs of two mma: 8 of each of 4 lanes */
#define FEW_PAD 32        /* places between rows of A: rows begin 16 banks apart */
#define FEW_X_BYTES 20480 /* of A's rows in shared memory */

/* One product on the device. */
struct few {
    const void *a;
    enum dtype a_type;
    int64_t lda, ldc;
    float *c, alpha;
    int m, n, k;
    bool add;
    int tiles, steps;        /* tiles of outputs, steps of inputs of each */
    unsigned first, blocks;  /* of the grid */
    float *parts;            /* [block][began before the tile's first step?][row][output of the tile] */
    unsigned *counters;      /* of each tile; 0 between products */
};

template <class W> struct few_list {
    int count, steps; /* steps of A's rows that are in shared memory at a time */
    struct {
        struct few o;
        W w;
    } of[FEW_MOST];
};

/* Where a lane stands: group g and place t of 4 in it, as mma_bf16 has them; the first output of its warp; what W::prepare has filled. */
struct few_lane {
    int lane, g, t, first, n, k;
    const uint32_t *table;
};

/* The block that has step `unit` of the product, of all its tiles' steps. */
static __device__ __forceinline__ unsigned few_owner(const struct few &o, int64_t unit)
{
    return (unsigned)(((unit + 1) * o.blocks - 1) / ((int64_t)o.tiles * o.steps));
}

static __device__ __forceinline__ float few_input(const struct few &o, int row, int k)
{
    return k < o.k ? stored_at(o.a, o.a_type, row * o.lda + k) : 0;
}

/* Rows of A, rounded, from step `from` to step `to`, in the layout's order: eight places at a time, which stand for two runs of four inputs. */
template <class W> static __device__ __forceinline__ void few_stage(uint32_t *x, int stride, const struct few &o, int from, int to)
{
    int eights = (to - from) * (W::STEP / 8);
    for (int at = threadIdx.x; at < o.m * eights; at += FEW_THREADS) {
        int row = at / eights, place = at % eights * 8, step = place / W::STEP;
        float v[8];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int k = (from + step) * W::STEP + W::run(place % W::STEP, half);
            const float *p = (const float *)o.a + row * o.lda + k;
            if (o.a_type == DTYPE_F32 && k + 4 <= o.k && (uintptr_t)p % 16 == 0) {
                float4 four = *(const float4 *)p;
                v[4 * half] = four.x, v[4 * half + 1] = four.y, v[4 * half + 2] = four.z, v[4 * half + 3] = four.w;
            } else {
                for (int e = 0; e < 4; e++)
                    v[4 * half + e] = few_input(o, row, k + e);
            }
        }
        uint4 words = W::APART ? make_uint4(pack_bf16(v[0], v[4]), pack_bf16(v[1], v[5]), pack_bf16(v[2], v[6]), pack_bf16(v[3], v[7]))
                               : make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
        *(uint4 *)(x + row * stride + place / 2) = words;
    }
}

/* One step: the sums of inputs that share scales, then those times their scales onto `total`. x: the step's places in row 0. */
template <class W, int MT>
static __device__ __forceinline__ void few_step(float total[W::TILES][MT][4], const W &w, const typename W::raw &raw, const struct few_lane &l, int m, const uint32_t *x,
                                                int stride)
{
    float c[W::TILES][MT][4];
#pragma unroll
    for (int slice = 0; slice < W::STEP / FEW_SLICE; slice++) {
        uint32_t a[W::TILES][2][4];
        if (slice % W::FOLD == 0) {
#pragma unroll
            for (int i = 0; i < W::TILES * MT * 4; i++)
                c[i / (4 * MT)][i / 4 % MT][i % 4] = 0;
        }
        w.fragments(a, raw, slice, l);
#pragma unroll
        for (int j = 0; j < MT; j++) {
            uint4 b = make_uint4(0, 0, 0, 0);
            if (l.g + 8 * j < m)
                b = *(const uint4 *)(x + (l.g + 8 * j) * stride + (slice * FEW_SLICE + 8 * l.t) / 2);
            const uint32_t low[2] = {b.x, b.y}, high[2] = {b.z, b.w};
#pragma unroll
            for (int i = 0; i < W::TILES; i++) {
                mma_bf16(c[i][j], a[i][0], low);
                mma_bf16(c[i][j], a[i][1], high);
            }
        }
        if (slice % W::FOLD == W::FOLD - 1) {
            float s[W::TILES][2];
            w.scales(s, raw, slice / W::FOLD, l);
#pragma unroll
            for (int i = 0; i < W::TILES * MT * 4; i++) {
                float *to = &total[i / (4 * MT)][i / 4 % MT][i % 4];
                *to = fmaf(s[i / (4 * MT)][i % 4 / 2], c[i / (4 * MT)][i / 4 % MT][i % 4], *to);
            }
        }
    }
}

/* A's rows in shared memory: steps from .. to - 1. */
struct few_staged {
    int from, to;
};

/* Steps from .. to - 1 of a tile. */
template <class W, int MT>
static __device__ __forceinline__ void few_steps(float total[W::TILES][MT][4], const W &w, const struct few &o, const struct few_lane &l, int from, int to, int most,
                                                 uint32_t *x, struct few_staged *there)
{
    int stride = (most * W::STEP + FEW_PAD) / 2;
    for (int begin = from, end; begin < to; begin = end) {
        const int DEPTH = W::depth(MT);
        typename W::raw ring[DEPTH];
        end = to - begin < most ? to : begin + most;
#pragma unroll
        for (int d = 0; d < DEPTH; d++)
            if (begin + d < end)
                w.load(ring[d], l, (begin + d) * W::STEP);
        if (begin < there->from || end > there->to) {
            __syncthreads(); /* those before are done with */
            few_stage<W>(x, stride, o, begin, end);
            *there = {begin, end};
            __syncthreads();
        }
#pragma unroll 1
        for (int at = begin; at < end; at += DEPTH)
#pragma unroll
            for (int d = 0; d < DEPTH; d++)
                if (at + d < end) {
                    few_step<W, MT>(total, w, ring[d], l, o.m, x + (at + d - there->from) * (W::STEP / 2), stride);
                    if (at + d + DEPTH < end)
                        w.load(ring[d], l, (at + d + DEPTH) * W::STEP);
                }
    }
}

static __device__ __forceinline__ void few_store(const struct few &o, int row, int output, float sum)
{
    float *c = o.c + row * o.ldc + output, s = o.alpha * sum;
    *c = o.add ? *c + s : s;
}

/* Block `block`'s sums of a tile, which `sharers` blocks from `head` on have, come to C. */
template <class W, int MT>
static __device__ __forceinline__ void few_finish(const float total[W::TILES][MT][4], const W &w, const struct few &o, const struct few_lane &l, int tile, unsigned block,
                                                  unsigned head, unsigned sharers)
{
    const int outputs = 16 * W::TILES * FEW_WARPS;
    __shared__ bool is_last;
    float *part = o.parts + (size_t)(2 * block + (block == head)) * o.m * outputs;
#pragma unroll
    for (int i = 0; i < W::TILES; i++)
#pragma unroll
        for (int j = 0; j < MT; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int row = 8 * j + 2 * l.t + e % 2, output = l.first + W::row(i, e / 2, l.g);
                if (row >= o.m || output >= o.n)
                    continue;
                if (sharers == 1)
                    few_store(o, row, output, w.last(output) * total[i][j][e]);
                else
                    part[row * outputs + output - tile * outputs] = total[i][j][e];
            }
    if (sharers == 1)
        return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        is_last = atomicInc(o.counters + tile, sharers - 1) == sharers - 1; /* and is 0 again */
    __syncthreads();
    if (!is_last)
        return;
    __threadfence();
    for (int at = threadIdx.x; at < o.m * outputs; at += FEW_THREADS) {
        int row = at / outputs, output = tile * outputs + at % outputs;
        float sum = 0;
        if (output >= o.n)
            continue;
        for (unsigned s = 0; s < sharers; s++)
            sum += __ldcg(o.parts + (size_t)(2 * (head + s) + (s == 0)) * (size_t)(o.m * outputs) + at);
        few_store(o, row, output, w.last(output) * sum);
    }
}

template <class W, int MT> static __global__ void __launch_bounds__(FEW_THREADS, W::RESIDENT) few_tensor_kernel(const __grid_constant__ struct few_list<W> list)
{
    DYNAMIC_SHARED(uint32_t, shared);
    int which = 0;
    while (which + 1 < list.count && blockIdx.x >= list.of[which + 1].o.first)
        which++;
    const struct few &o = list.of[which].o;
    const W &w = list.of[which].w;
    const int outputs = 16 * W::TILES * FEW_WARPS;
    unsigned block = blockIdx.x - o.first;
    int64_t units = (int64_t)o.tiles * o.steps;
    int unit = (int)(block * units / o.blocks), end = (int)((block + 1) * units / o.blocks);
    struct few_lane l = {(int)threadIdx.x % 32, (int)threadIdx.x % 32 / 4, (int)threadIdx.x % 4, 0, o.n, o.k, shared};
    struct few_staged there = {0, 0};
    w.prepare(shared); /* A's rows are staged behind it and a barrier */
    while (unit < end) {
        int tile = unit / o.steps, from = unit % o.steps, to = end - unit < o.steps - from ? from + end - unit : o.steps;
        float total[W::TILES][MT][4];
#pragma unroll
        for (int i = 0; i < W::TILES * MT * 4; i++)
            total[i / (4 * MT)][i / 4 % MT][i % 4] = 0;
        l.first = tile * outputs + (int)threadIdx.x / 32 * 16 * W::TILES;
        few_steps<W, MT>(total, w, o, l, from, to, list.steps, shared + W::TABLE / 4, &there);
        unsigned head = few_owner(o, (int64_t)tile * o.steps), sharers = few_owner(o, (int64_t)(tile + 1) * o.steps - 1) - head + 1;
        few_finish<W, MT>(total, w, o, l, tile, block, head, sharers);
        unit += to - from;
    }
}

/* ---- host ---- */

/* Sixteen bytes that are read once. */
static __device__ __forceinline__ uint4 few_stream16(const void *p)
{
    return __ldcs((const uint4 *)p);
}

static inline bool few_aligned(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

/* Starts them all. W::of tells a layout from a product. */
template <class W> static size_t few_launch(const struct matmul *list, int count, bool start)
{
    struct few_list<W> l = {};
    unsigned blocks = 0, tiles = 0;
    size_t floats = 0;
    int most = 1;
    for (int i = 0; i < count; i++) {
        const struct matmul *m = list + i;
        const int outputs = 16 * W::TILES * FEW_WARPS;
        struct few *o = &l.of[i].o;
        o->a = m->a.data, o->a_type = m->a.type, o->lda = m->a.row_stride;
        o->c = m->c, o->ldc = m->ldc, o->alpha = m->alpha, o->add = m->beta != 0;
        o->m = (int)m->m, o->n = (int)m->n, o->k = (int)m->k;
        o->tiles = (o->n + outputs - 1) / outputs;
        o->steps = (o->k + W::STEP - 1) / W::STEP;
        int64_t units = (int64_t)o->tiles * o->steps, resident = W::RESIDENT * (int64_t)cuda_multiprocessors();
        o->first = blocks;
        o->blocks = (unsigned)(units < resident ? units : resident);
        blocks += o->blocks;
        floats += (size_t)2 * o->blocks * (size_t)(o->m * outputs);
        tiles += (unsigned)o->tiles;
        most = o->m > most ? o->m : most;
        l.of[i].w = W::of(m);
    }
    if (!start)
        return floats * sizeof(float);
    float *parts = (float *)cuda_scratch(CUDA_SCRATCH_FEW, floats * sizeof *parts);
    unsigned *counters = few_counters();
    if (!parts || !counters)
        return 0;
    for (int i = 0; i < count; i++) {
        struct few *o = &l.of[i].o;
        o->parts = parts, o->counters = counters;
        parts += (size_t)2 * o->blocks * (size_t)(o->m * 16 * W::TILES * FEW_WARPS), counters += o->tiles;
    }
    l.count = count;
    l.steps = (FEW_X_BYTES / 2 / most - FEW_PAD) / W::STEP;
    size_t shared = W::TABLE + (size_t)most * (size_t)(l.steps * W::STEP + FEW_PAD) * 2;
    if (most <= 8)
        LAUNCH((few_tensor_kernel<W, 1>), blocks, FEW_THREADS, shared, l);
    else
        LAUNCH((few_tensor_kernel<W, 2>), blocks, FEW_THREADS, shared, l);
    return floats * sizeof(float);
}

#endif
