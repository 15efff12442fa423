/* Quantized weights, the specification: each element by the formula of base/quantized.h. */
#include <math.h>

#include "base/bytes.h"
#include "kernels/cpu/cpu.h"

static float element(const void *data, enum dtype type, int64_t i)
{
    float f;
    dtype_to_f32(&f, (const char *)data + i * (int64_t)dtype_size(type), type, 1);
    return f;
}

/* Field i of a column of 32-bit words, `stride` words apart; fields of 3 bits run on into the next word. */
static uint32_t field(const void *words, int64_t stride, int64_t i, int bits, uint32_t carry)
{
    int64_t bit = i * bits, word = bit / 32;
    int shift = (int)(bit % 32);
    const char *p = (const char *)words + word * stride * 4;
    uint64_t both = get_le32(p) + carry;
    if (shift + bits > 32)
        both |= (uint64_t)get_le32(p + stride * 4) << 32;
    return (uint32_t)(both >> shift) & ((1u << bits) - 1);
}

static float absmax(const struct quantized *q, int64_t block)
{
    if (q->scale_type != DTYPE_U8)
        return element(q->scales, DTYPE_F32, block);
    float a = element(q->nested_map, DTYPE_F32, ((const uint8_t *)q->scales)[block]);
    return a * element(q->nested_scales, DTYPE_F32, block / QUANTIZED_NESTED_BLOCK) + q->nested_offset;
}

static float value_of_4bit(const struct quantized *q, int64_t o, int64_t i)
{
    int64_t e = o * q->in + i;
    int byte = ((const uint8_t *)q->codes)[e / 2], code = e % 2 ? byte & 15 : byte >> 4;
    float v = (q->kind == QUANTIZED_NF4 ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES)[code] * absmax(q, e / q->group);
    if (q->value_type == DTYPE_BF16)
        return bf16_to_f32(f32_to_bf16(v));
    return q->value_type == DTYPE_F16 ? f16_to_f32(f32_to_f16(v)) : v;
}

static float value_of_gptq(const struct quantized *q, int64_t o, int64_t i)
{
    uint32_t most = (1u << q->bits) - 1;
    uint32_t ones = q->zeros_stored == QUANTIZED_ZEROS_WORD_LESS_ONE ? 0xffffffffu / most : 0;
    int64_t g = q->g_idx ? (int32_t)get_le32((const char *)q->g_idx + i * 4) : i / q->group;
    uint32_t zero = field((const char *)q->zeros + g * (q->out * q->bits / 32) * 4, 1, o, q->bits, ones);
    if (q->zeros_stored == QUANTIZED_ZEROS_LESS_ONE)
        zero = (zero + 1) & most;
    uint32_t code = field((const char *)q->codes + o * 4, q->out, i, q->bits, 0);
    return element(q->scales, q->scale_type, g * q->out + o) * (float)((int)code - (int)zero);
}

static float value_of_awq(const struct quantized *q, int64_t o, int64_t i)
{
    static const int place[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* of output 8k + j */
    int64_t g = i / q->group, words = q->out / 8;
    int shift = 4 * place[o % 8];
    int code = (int)(get_le32((const char *)q->codes + (i * words + o / 8) * 4) >> shift & 15);
    int zero = (int)(get_le32((const char *)q->zeros + (g * words + o / 8) * 4) >> shift & 15);
    return element(q->scales, q->scale_type, g * q->out + o) * (float)(code - zero);
}

static float value(const struct quantized *q, int64_t o, int64_t i)
{
    switch (q->kind) {
    case QUANTIZED_INT8:
        return ((float)((const int8_t *)q->codes)[o * q->in + i] * element(q->scales, DTYPE_F32, o)) * 0.007874015718698502f;
    case QUANTIZED_NF4:
    case QUANTIZED_FP4: return value_of_4bit(q, o, i);
    case QUANTIZED_GPTQ: return value_of_gptq(q, o, i);
    case QUANTIZED_AWQ: return value_of_awq(q, o, i);
    }
    return NAN;
}

void ref_dequantize(void *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols)
{
    for (int64_t o = 0; o < rows; o++)
        for (int64_t i = 0; i < cols; i++) {
            float v = value(q, row0 + o, col0 + i);
            dtype_from_f32((char *)out + (o * ld + i) * (int64_t)dtype_size(type), type, &v, 1);
        }
}

void ref_fill_quantized(struct kernels *k)
{
    k->dequantize = ref_dequantize;
    k->quantize_4bit = ref_quantize_4bit;
    k->quantize_rows_int8 = ref_quantize_rows_int8;
}
