/* Values onto the grid of a quantized weight. One version for all instruction sets: compilers make vectors of its loops, and sums are kept in LANES
 * parts, so that their bits do not depend on the vectors' width. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "kernels/cpu/levels.h"
#include "kernels/nested_level.h"

#if defined __x86_64__ && defined __GNUC__ && !defined __clang__ && !defined __SANITIZE_ADDRESS__
#define EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define EACH_CPU
#endif

#define LANES 16
#define PIECE 256 /* elements that are looked at at once */

static float sum_lanes(const float *lanes)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += lanes[i];
    return sum;
}

/* lanes[j % LANES] += (to[j] - x[j])^2 */
EACH_CPU
static void add_errors(float *restrict lanes, const float *restrict to, const float *restrict x, int n)
{
    int j = 0;
    for (; j + LANES <= n; j += LANES) {
#pragma omp simd
        for (int i = 0; i < LANES; i++) {
            float d = to[j + i] - x[j + i];
            lanes[i] += d * d;
        }
    }
    for (; j < n; j++) {
        float d = to[j] - x[j];
        lanes[j % LANES] += d * d;
    }
}

EACH_CPU
static float largest(const float *x, int64_t n)
{
    float most = 0;
#pragma omp simd reduction(max : most)
    for (int64_t j = 0; j < n; j++)
        most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
    return most;
}

/* ---- blocks of 4 bits ---- */

/* places[j]: of the level nearest to x[j] / absmax; values[j]: it times absmax */
EACH_CPU
static void find_levels(uint8_t *restrict places, float *restrict values, const struct levels *l, float absmax, const float *restrict x, int n)
{
    const float inverse = absmax >= FLT_MIN ? 1 / absmax : 0;
#pragma omp simd
    for (int j = 0; j < n; j++) {
        float scaled = x[j] * inverse, v = l->value[0];
        int place = 0;
        for (int k = 0; k < 15; k++) {
            v = scaled > l->bound[k] ? l->value[k + 1] : v;
            place += scaled > l->bound[k];
        }
        values[j] = v * absmax;
        places[j] = (uint8_t)place;
    }
}

EACH_CPU
static void round_bf16(float *v, int n)
{
#pragma omp simd
    for (int j = 0; j < n; j++) {
        uint32_t u;
        memcpy(&u, v + j, 4);
        u = (u + 0x7fffu + (u >> 16 & 1)) & 0xffff0000u; /* finite */
        memcpy(v + j, &u, 4);
    }
}

static void round_values(float *v, enum dtype type, int n)
{
    uint16_t half[PIECE];
    if (type == DTYPE_BF16) {
        round_bf16(v, n);
    } else if (type == DTYPE_F16) {
        dtype_from_f32(half, type, v, (size_t)n);
        dtype_to_f32(v, half, type, (size_t)n);
    }
}

/* A block with this absmax: values and codes, where wanted, and the sum of squared errors. The codes begin at a whole byte. */
static float block_as(const struct quantized *q, const struct levels *l, float absmax, const float *x, int64_t n, float *values, uint8_t *codes)
{
    float lanes[LANES] = {0}, v[PIECE];
    uint8_t places[PIECE];
    for (int64_t at = 0; at < n; at += PIECE) {
        int count = n - at < PIECE ? (int)(n - at) : PIECE;
        find_levels(places, v, l, absmax, x + at, count);
        round_values(v, q->value_type, count);
        add_errors(lanes, v, x + at, count);
        for (int j = 0; codes && j < count; j += 2) {
            int low = j + 1 < count ? l->code[places[j + 1]] : q->kind == QUANTIZED_NF4 ? 7 : 0; /* beyond the end: 0 */
            codes[(at + j) / 2] = (uint8_t)(l->code[places[j]] << 4 | low);
        }
        if (values)
            memcpy(values + at, v, (size_t)count * sizeof *v);
    }
    return sum_lanes(lanes);
}

static float number(const void *data, int64_t i)
{
    float f;
    dtype_to_f32(&f, (const char *)data + i * 4, DTYPE_F32, 1);
    return f;
}

static struct nested nested_of(const struct quantized *q)
{
    struct nested m;
    for (int i = 0; i < 256; i++) {
        float v = number(q->nested_map, i);
        int at = i;
        for (; at > 0 && m.value[at - 1] > v; at--) {
            m.value[at] = m.value[at - 1];
            m.code[at] = m.code[at - 1];
        }
        m.value[at] = v;
        m.code[at] = (uint8_t)i;
    }
    return m;
}

static void requantize_block(float *w, const struct quantized *q, const struct levels *l, const struct nested *m, int64_t block, uint8_t *codes, void *scales)
{
    int64_t first = block * q->group, all = q->out * q->in, n = all - first < q->group ? all - first : q->group;
    const uint8_t *old = q->scales;
    float *x = w + first, kept = m ? 0 : number(q->scales, block), absmax = largest(x, n);
    uint8_t code = 0;
    if (m) {
        kept = number(q->nested_map, old[block]) * number(q->nested_scales, block / QUANTIZED_NESTED_BLOCK) + q->nested_offset;
        code = nearest_level(m, number(q->nested_scales, block / QUANTIZED_NESTED_BLOCK), q->nested_offset, absmax, &absmax);
    }
    bool keep = absmax == kept || block_as(q, l, kept, x, n, NULL, NULL) <= block_as(q, l, absmax, x, n, NULL, NULL);
    if (keep) {
        absmax = kept;
        code = m ? old[block] : 0;
    }
    float values[PIECE];
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t count = n - at < PIECE ? n - at : PIECE;
        block_as(q, l, absmax, x + at, count, values, codes ? codes + (first + at) / 2 : NULL);
        memcpy(x + at, values, (size_t)count * sizeof *x);
    }
    if (scales && m)
        ((uint8_t *)scales)[block] = code;
    else if (scales)
        memcpy((char *)scales + block * 4, &absmax, 4);
}

static void requantize_4bit(float *w, const struct quantized *q, uint8_t *codes, void *scales)
{
    const struct levels l = levels_of(q->kind);
    int64_t blocks = (q->out * q->in + q->group - 1) / q->group;
    bool is_nested = q->scale_type == DTYPE_U8;
    struct nested m = {0};
    if (is_nested)
        m = nested_of(q);
#pragma omp parallel for schedule(static, 64)
    for (int64_t b = 0; b < blocks; b++)
        requantize_block(w, q, &l, is_nested ? &m : NULL, b, codes, scales);
}

/* ---- rows of 8 bits ---- */

/* values may be x */
EACH_CPU
static void round_row(float *values, float scale, const float *x, int n)
{
    const float by = scale >= FLT_MIN ? 127 / scale : 0;
#pragma omp simd
    for (int j = 0; j < n; j++) {
        float c = rintf(x[j] * by) + 0.0f; /* -0 has no code */
        c = c > 127 ? 127 : c < -127 ? -127 : c;
        values[j] = c;
    }
}

EACH_CPU
static void scale_row(float *values, float scale, int n)
{
#pragma omp simd
    for (int j = 0; j < n; j++)
        values[j] = values[j] * scale * 0.007874015718698502f;
}

static float row_error(float scale, const float *x, int64_t n)
{
    float lanes[LANES] = {0}, v[PIECE];
    for (int64_t at = 0; at < n; at += PIECE) {
        int count = n - at < PIECE ? (int)(n - at) : PIECE;
        round_row(v, scale, x + at, count);
        scale_row(v, scale, count);
        add_errors(lanes, v, x + at, count);
    }
    return sum_lanes(lanes);
}

static void requantize_int8(float *w, const struct quantized *q, int8_t *codes, char *scales)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < q->out; o++) {
        float *x = w + o * q->in, kept = number(q->scales, o), scale = largest(x, q->in);
        if (row_error(kept, x, q->in) <= row_error(scale, x, q->in))
            scale = kept;
        for (int64_t at = 0; at < q->in; at += PIECE) {
            int count = q->in - at < PIECE ? (int)(q->in - at) : PIECE;
            round_row(x + at, scale, x + at, count);
            for (int j = 0; codes && j < count; j++)
                codes[o * q->in + at + j] = (int8_t)x[at + j];
            scale_row(x + at, scale, count);
        }
        if (scales)
            memcpy(scales + o * 4, &scale, 4);
    }
}

/* ---- words of groups ---- */

static uint32_t get_field(const void *words, int64_t i, int bits, uint32_t carry)
{
    int64_t bit = i * bits;
    int shift = (int)(bit % 32);
    const char *p = (const char *)words + bit / 32 * 4;
    uint64_t both = get_le32(p) + carry;
    if (shift + bits > 32)
        both |= (uint64_t)get_le32(p + 4) << 32;
    return (uint32_t)(both >> shift) & ((1u << bits) - 1);
}

/* Adds a field to words of zeros that lie `stride` words apart. */
static void put_field(void *words, int64_t stride, int64_t i, int bits, uint32_t v)
{
    int64_t bit = i * bits;
    int shift = (int)(bit % 32);
    char *p = (char *)words + bit / 32 * stride * 4;
    put_le32(p, get_le32(p) | v << shift);
    if (shift + bits > 32)
        put_le32(p + stride * 4, get_le32(p + stride * 4) | v >> (32 - shift));
}

static const int AWQ_PLACE[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* of output 8k + j */

static float zero_of(const struct quantized *q, int64_t g, int64_t o)
{
    if (q->kind == QUANTIZED_AWQ)
        return (float)(get_le32((const char *)q->zeros + (g * (q->out / 8) + o / 8) * 4) >> 4 * AWQ_PLACE[o % 8] & 15);
    uint32_t most = (1u << q->bits) - 1, ones = q->zeros_stored == QUANTIZED_ZEROS_WORD_LESS_ONE ? 0xffffffffu / most : 0;
    uint32_t z = get_field((const char *)q->zeros + g * (q->out * q->bits / 32) * 4, o, q->bits, ones);
    return (float)(q->zeros_stored == QUANTIZED_ZEROS_LESS_ONE ? (z + 1) & most : z);
}

static void put_code(const struct quantized *q, void *codes, int64_t o, int64_t i, uint32_t code)
{
    if (q->kind == QUANTIZED_GPTQ) {
        put_field((char *)codes + o * 4, q->out, i, q->bits, code);
        return;
    }
    char *word = (char *)codes + (i * (q->out / 8) + o / 8) * 4;
    put_le32(word, get_le32(word) | code << 4 * AWQ_PLACE[o % 8]);
}

/* scale and zero: of this output's groups */
static void requantize_output(float *w, const struct quantized *q, int64_t o, const float *scale, const float *zero, void *codes)
{
    const float most = (float)((1u << q->bits) - 1);
    for (int64_t i = 0; i < q->in; i++) {
        int64_t g = q->g_idx ? (int32_t)get_le32((const char *)q->g_idx + i * 4) : i / q->group;
        float c = scale[g] != 0 ? rintf(w[i] / scale[g]) + zero[g] : zero[g];
        c = c < 0 ? 0 : c > most ? most : c;
        w[i] = scale[g] * (c - zero[g]);
        if (codes)
            put_code(q, codes, o, i, (uint32_t)c);
    }
}

static void requantize_groups(float *w, const struct quantized *q, void *codes)
{
    int64_t groups = q->g_idx ? 0 : (q->in + q->group - 1) / q->group;
    for (int64_t i = 0; q->g_idx && i < q->in; i++) {
        int32_t g = (int32_t)get_le32((const char *)q->g_idx + i * 4);
        groups = g >= groups ? g + 1 : groups;
    }
    if (codes)
        memset(codes, 0, (size_t)(q->out * q->in * q->bits / 8));
#pragma omp parallel
    {
        float *scale = mem_array(NULL, 2 * (size_t)groups, sizeof *scale), *zero = scale + groups;
#pragma omp for schedule(static, 32) /* words of AWQ hold 8 outputs */
        for (int64_t o = 0; o < q->out; o++) {
            for (int64_t g = 0; g < groups; g++) {
                dtype_to_f32(&scale[g], (const char *)q->scales + (g * q->out + o) * (int64_t)dtype_size(q->scale_type), q->scale_type, 1);
                zero[g] = zero_of(q, g, o);
            }
            requantize_output(w + o * q->in, q, o, scale, zero, codes);
        }
        free(scale);
    }
}

static void requantize(float *w, const struct quantized *q, void *codes, void *scales)
{
    switch (q->kind) {
    case QUANTIZED_INT8: requantize_int8(w, q, codes, scales); break;
    case QUANTIZED_NF4:
    case QUANTIZED_FP4: requantize_4bit(w, q, codes, scales); break;
    case QUANTIZED_GPTQ:
    case QUANTIZED_AWQ: requantize_groups(w, q, codes); break;
    }
}

void ref_fill_requantize(struct kernels *k)
{
    k->requantize = requantize;
}
