/* Quantized weights on the device: any element by the formula of base/quantized.h. */
#ifndef KERNELS_CUDA_QUANTIZED_H
#define KERNELS_CUDA_QUANTIZED_H

extern "C" {
#include "base/quantized.h"
}
#include "kernels/cuda/stored.h"

/* The 16 values of NF4, then those of FP4; filled once (quantized.cu). NULL only after an error that stays. */
const float *quantized_tables(void);

/* kernels.h, dequantize. */
void quantized_values(void *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols);

/* Whole rows as bf16, `out` (rows, in) with row stride ld, the fast way (quantized_panel.cu). False: these arrays are not laid out for it, nothing is done. */
bool quantized_panel(uint16_t *out, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows);

/* A weight, and what its values need beside it: by quantized_source_of. */
struct quantized_source {
    struct quantized q;
    const float *tables;
    double per_group; /* 1 / group */
};

/* tables NULL: an error that stays. */
static inline struct quantized_source quantized_source_of(const struct quantized *q)
{
    return {*q, quantized_tables(), q->group ? 1 / (double)q->group : 0};
}

/* a / b of what is not negative and below 2^52. Division itself is a function call, which makes kernels spill. */
static __device__ __forceinline__ int64_t quantized_quotient(int64_t a, int64_t b, double inverse)
{
    int64_t c = (int64_t)((double)a * inverse), left = a - c * b;
    return left < 0 ? c - 1 : left >= b ? c + 1 : c;
}

/* Field i of a column of 32-bit words, `stride` words apart; fields of 3 bits run on into the next word. */
static __device__ __forceinline__ uint32_t quantized_field(const void *words, int64_t stride, int64_t i, int bits, uint32_t carry)
{
    int64_t bit = i * bits;
    int shift = (int)(bit % 32);
    const uint8_t *p = (const uint8_t *)words + bit / 32 * stride * 4;
    uint64_t both = get32(p) + carry;
    if (shift + bits > 32)
        both |= (uint64_t)get32(p + stride * 4) << 32;
    return (uint32_t)(both >> shift) & ((1u << bits) - 1);
}

static __device__ __forceinline__ float quantized_f32(const void *p, int64_t i)
{
    return stored_at(p, DTYPE_F32, i);
}

static __device__ __forceinline__ float quantized_absmax(const struct quantized *q, int64_t block)
{
    if (q->scale_type != DTYPE_U8)
        return quantized_f32(q->scales, block);
    float a = quantized_f32(q->nested_map, ((const uint8_t *)q->scales)[block]);
    return a * quantized_f32(q->nested_scales, block / QUANTIZED_NESTED_BLOCK) + q->nested_offset;
}

static __device__ __forceinline__ float quantized_rounded(float v, enum dtype type)
{
    return type == DTYPE_BF16 ? from_bf16(round_to_bf16(v)) : type == DTYPE_F16 ? from_f16(round_to_f16(v)) : v;
}

static __device__ __forceinline__ int64_t quantized_group(const struct quantized *q, int64_t i)
{
    return q->g_idx ? (int64_t)(int32_t)get32((const uint8_t *)q->g_idx + 4 * i) : (int64_t)((uint32_t)i / (uint32_t)q->group);
}

/* Bits at which output o of 8 stands in a word of AWQ: the order 0 2 4 6 1 3 5 7. */
static __device__ __forceinline__ int awq_shift(int64_t o)
{
    int at = (int)(o % 8);
    return 4 * (at / 2 + at % 2 * 4);
}

static __device__ __forceinline__ uint32_t quantized_zero(const struct quantized *q, int64_t g, int64_t o)
{
    if (q->kind == QUANTIZED_AWQ)
        return get32((const uint8_t *)q->zeros + (g * (q->out / 8) + o / 8) * 4) >> awq_shift(o) & 15;
    uint32_t most = (1u << q->bits) - 1, ones = q->zeros_stored == QUANTIZED_ZEROS_WORD_LESS_ONE ? 0xffffffffu / most : 0;
    uint32_t z = quantized_field((const uint8_t *)q->zeros + g * (q->out * q->bits / 32) * 4, 1, o, q->bits, ones);
    return q->zeros_stored == QUANTIZED_ZEROS_LESS_ONE ? (z + 1) & most : z;
}

static __device__ __forceinline__ float quantized_value(const struct quantized_source *s, int64_t o, int64_t i)
{
    const struct quantized *q = &s->q;
    int64_t e = o * q->in + i;
    if (q->kind == QUANTIZED_INT8)
        return ((float)((const int8_t *)q->codes)[e] * quantized_f32(q->scales, o)) * 0.007874015718698502f;
    if (q->kind == QUANTIZED_NF4 || q->kind == QUANTIZED_FP4) {
        int byte = ((const uint8_t *)q->codes)[e / 2], code = e % 2 ? byte & 15 : byte >> 4;
        return quantized_rounded(s->tables[(q->kind == QUANTIZED_FP4 ? 16 : 0) + code] * quantized_absmax(q, quantized_quotient(e, q->group, s->per_group)), q->value_type);
    }
    int64_t g = quantized_group(q, i);
    uint32_t code = q->kind == QUANTIZED_AWQ ? get32((const uint8_t *)q->codes + (i * (q->out / 8) + o / 8) * 4) >> awq_shift(o) & 15
                                             : quantized_field((const uint8_t *)q->codes + o * 4, q->out, i, q->bits, 0);
    return stored_at(q->scales, q->scale_type, g * q->out + o) * (float)((int)code - (int)quantized_zero(q, g, o));
}

#endif
