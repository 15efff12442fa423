/* Whole rows of a quantized weight as bf16, ahead of a product of many rows: at the speed of what is read and written. A thread has 16 inputs of one output, or
 * of the 8 of a word of AWQ, takes their codes at once and stores 32 bytes of a row. Bit for bit what quantized_value gives. */
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/quantized.h"

#define THREADS 256
#define INPUTS 16

struct panel {
    uint16_t *out;
    int64_t ld;
    int row0, rows, eighths; /* of the weight; eighths: rows / 8 */
    int blocks;              /* of INPUTS */
};

static __device__ __forceinline__ void store_inputs(uint16_t *to, const float v[INPUTS])
{
#pragma unroll
    for (int i = 0; i < INPUTS; i += 8)
        *(uint4 *)(to + i) = make_uint4(pack_bf16(v[i], v[i + 1]), pack_bf16(v[i + 2], v[i + 3]), pack_bf16(v[i + 4], v[i + 5]), pack_bf16(v[i + 6], v[i + 7]));
}

static __device__ __forceinline__ uint32_t byte_of(const uint32_t *words, int i)
{
    return words[i / 4] >> 8 * (i % 4) & 255;
}

/* As quantized_group, quantized_zero and the scales have them, where arrays are aligned: branches for those that are not cost registers. */
static __device__ __forceinline__ float scale_at(const struct quantized &q, int64_t i)
{
    if (q.scale_type == DTYPE_F32)
        return ((const float *)q.scales)[i];
    uint16_t h = ((const uint16_t *)q.scales)[i];
    return q.scale_type == DTYPE_BF16 ? from_bf16(h) : from_f16(h);
}

template <int BITS> static __device__ __forceinline__ int zero_at(const struct quantized &q, int64_t g, int64_t o)
{
    const uint32_t most = (1u << BITS) - 1, *words = (const uint32_t *)q.zeros + g * (q.out * BITS / 32) + o * BITS / 32;
    int shift = (int)(o * BITS % 32);
    uint32_t z = (words[0] + (q.zeros_stored == QUANTIZED_ZEROS_WORD_LESS_ONE ? 0xffffffffu / most : 0)) >> shift;
    if (BITS == 3 && shift > 32 - BITS)
        z |= words[1] << (32 - shift);
    return (int)((z + (q.zeros_stored == QUANTIZED_ZEROS_LESS_ONE)) & most);
}

/* The 16 values lie in 16 banks: lanes that ask for different ones do not wait for one another. */
static __global__ void __launch_bounds__(THREADS) panel_codes_kernel(struct panel p, struct quantized_source s)
{
    __shared__ float values[16];
    const struct quantized *q = &s.q;
    if (threadIdx.x < 16)
        values[threadIdx.x] = s.tables[(q->kind == QUANTIZED_FP4 ? 16 : 0) + threadIdx.x];
    __syncthreads();
    for (int64_t at = grid_thread(); at < (int64_t)p.rows * p.blocks; at += grid_threads()) {
        int o = (int)at / p.blocks, i = (int)at % p.blocks * INPUTS;
        int64_t e = (p.row0 + o) * q->in + i;
        uint2 both = __ldcs((const uint2 *)((const uint8_t *)q->codes + e / 2));
        const uint32_t words[2] = {both.x, both.y};
        float absmax = quantized_absmax(q, quantized_quotient(e, q->group, s.per_group)), v[INPUTS];
#pragma unroll
        for (int j = 0; j < INPUTS; j += 2) {
            uint32_t byte = byte_of(words, j / 2);
            v[j] = quantized_rounded(values[byte >> 4] * absmax, q->value_type);
            v[j + 1] = quantized_rounded(values[byte & 15] * absmax, q->value_type);
        }
        store_inputs(p.out + o * p.ld + i, v);
    }
}

static __global__ void __launch_bounds__(THREADS) panel_int8_kernel(struct panel p, struct quantized q)
{
    for (int64_t at = grid_thread(); at < (int64_t)p.rows * p.blocks; at += grid_threads()) {
        int o = (int)at / p.blocks, i = (int)at % p.blocks * INPUTS;
        uint4 four = __ldcs((const uint4 *)((const int8_t *)q.codes + (p.row0 + o) * q.in + i));
        const uint32_t words[4] = {four.x, four.y, four.z, four.w};
        float scale = quantized_f32(q.scales, p.row0 + o), v[INPUTS];
#pragma unroll
        for (int j = 0; j < INPUTS; j++)
            v[j] = ((float)(int8_t)byte_of(words, j) * scale) * 0.007874015718698502f;
        store_inputs(p.out + o * p.ld + i, v);
    }
}

/* 16 codes of output o from input i on, in the low bits of `codes` as they lie, 64 bits at a time. */
template <int BITS> static __device__ __forceinline__ void gptq_codes(uint64_t codes[2], const struct quantized &q, int64_t o, int i)
{
    const uint32_t *words = (const uint32_t *)q.codes + o;
    int first = i * BITS / 32;
    if constexpr (BITS == 3) {
        uint64_t both = words[first * q.out] | (uint64_t)words[(first + 1) * q.out] << 32;
        codes[0] = both >> i * BITS % 32;
    } else {
#pragma unroll
        for (int w = 0; w < BITS / 2; w += 2)
            codes[w / 2] = words[(first + w) * q.out] | (BITS > 2 ? (uint64_t)words[(first + w + 1) * q.out] << 32 : 0);
    }
}

/* Threads side by side have outputs side by side, as the words lie. */
template <int BITS> static __global__ void __launch_bounds__(THREADS) panel_gptq_kernel(struct panel p, struct quantized q)
{
    for (int64_t at = grid_thread(); at < (int64_t)p.rows * p.blocks; at += grid_threads()) {
        int r = (int)at % p.rows, i = (int)at / p.rows * INPUTS;
        int64_t o = p.row0 + r, last = -1;
        uint64_t codes[BITS == 8 ? 2 : 1];
        float v[INPUTS], scale = 0;
        int zero = 0;
        gptq_codes<BITS>(codes, q, o, i);
#pragma unroll
        for (int j = 0; j < INPUTS; j++) {
            int64_t g = q.g_idx ? ((const int32_t *)q.g_idx)[i + j] : (uint32_t)i / (uint32_t)q.group; /* of whole INPUTS */
            if (g != last) {
                scale = scale_at(q, g * q.out + o);
                zero = zero_at<BITS>(q, g, o);
                last = g;
            }
            int code = (int)(codes[BITS == 8 ? j / 8 : 0] >> (BITS == 8 ? j % 8 : j) * BITS) & ((1 << BITS) - 1);
            v[j] = scale * (float)(code - zero);
        }
        store_inputs(p.out + r * p.ld + i, v);
    }
}

static __global__ void __launch_bounds__(THREADS) panel_awq_kernel(struct panel p, struct quantized q)
{
    for (int64_t at = grid_thread(); at < (int64_t)p.eighths * p.blocks; at += grid_threads()) {
        int r = (int)at % p.eighths, i = (int)at / p.eighths * INPUTS;
        int64_t g = quantized_group(&q, i), wide = q.out / 8, column = p.row0 / 8 + r;
        uint32_t words[INPUTS], zeros = ((const uint32_t *)q.zeros)[g * wide + column];
#pragma unroll
        for (int j = 0; j < INPUTS; j++)
            words[j] = __ldcs((const uint32_t *)q.codes + (i + j) * wide + column);
#pragma unroll
        for (int e = 0; e < 8; e++) {
            float v[INPUTS], scale = scale_at(q, g * q.out + 8 * column + e);
            int zero = (int)(zeros >> awq_shift(e)) & 15;
#pragma unroll
            for (int j = 0; j < INPUTS; j++)
                v[j] = scale * (float)((int)(words[j] >> awq_shift(e) & 15) - zero);
            store_inputs(p.out + (8 * r + e) * p.ld + i, v);
        }
    }
}

/* Do the arrays lie, and are the blocks and groups, as these need them? */
static bool takes(const struct quantized *q, int64_t row0, int64_t rows)
{
    bool codes = q->kind == QUANTIZED_NF4 || q->kind == QUANTIZED_FP4, words = q->kind == QUANTIZED_GPTQ || q->kind == QUANTIZED_AWQ;
    if (q->in % INPUTS || (uintptr_t)q->codes % 16 || row0 + rows >= INT32_MAX || rows * (q->in / INPUTS) >= INT32_MAX)
        return false;
    if (codes)
        return q->group % INPUTS == 0;
    if (words && !q->g_idx && q->group % INPUTS && q->group < q->in)
        return false;
    return !words || ((uintptr_t)q->zeros % 4 == 0 && (uintptr_t)q->scales % 4 == 0 && (uintptr_t)q->g_idx % 4 == 0 && (q->kind == QUANTIZED_GPTQ || (row0 % 8 == 0 && rows % 8 == 0)));
}

bool quantized_panel(uint16_t *out, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows)
{
    struct panel p = {out, ld, (int)row0, (int)rows, (int)(rows / 8), (int)(q->in / INPUTS)};
    if ((uintptr_t)out % 16 || ld % 8 || !takes(q, row0, rows))
        return false;
    unsigned grid = grid_for((q->kind == QUANTIZED_AWQ ? rows / 8 : rows) * p.blocks, THREADS);
    switch (q->kind) {
    case QUANTIZED_NF4:
    case QUANTIZED_FP4: LAUNCH(panel_codes_kernel, grid, THREADS, 0, p, quantized_source_of(q)); break;
    case QUANTIZED_INT8: LAUNCH(panel_int8_kernel, grid, THREADS, 0, p, *q); break;
    case QUANTIZED_AWQ: LAUNCH(panel_awq_kernel, grid, THREADS, 0, p, *q); break;
    case QUANTIZED_GPTQ:
        if (q->bits == 2)
            LAUNCH(panel_gptq_kernel<2>, grid, THREADS, 0, p, *q);
        else if (q->bits == 3)
            LAUNCH(panel_gptq_kernel<3>, grid, THREADS, 0, p, *q);
        else if (q->bits == 4)
            LAUNCH(panel_gptq_kernel<4>, grid, THREADS, 0, p, *q);
        else
            LAUNCH(panel_gptq_kernel<8>, grid, THREADS, 0, p, *q);
        break;
    }
    return true;
}
