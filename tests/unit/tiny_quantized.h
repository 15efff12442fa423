/* Quantized weights for tests, in every layout of base/quantized.h, made from values with simple settings.
 *
 *     struct tiny_quantized t;
 *     tiny_quantize(&t, k, w, out, in, &TINY_LAYOUTS[i]);   t.q describes memory that t owns
 *     tiny_quantized_release(&t);
 * The codes are those of kernels' requantize, so the values are the nearest that the settings allow. */
#ifndef TINY_QUANTIZED_H
#define TINY_QUANTIZED_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "kernels/kernels.h"

struct tiny_layout {
    const char *name;
    enum quantized_kind kind;
    int bits;
    int64_t group;               /* 0: all inputs */
    enum dtype value_type, scale_type;
    enum quantized_zeros zeros;
    bool act_order;
};

static const struct tiny_layout TINY_LAYOUTS[] = {
    {"int8", QUANTIZED_INT8, 8, 0, DTYPE_F32, DTYPE_F32, 0, false},
    {"nf4", QUANTIZED_NF4, 4, 64, DTYPE_F32, DTYPE_F32, 0, false},
    {"nf4, bf16, double", QUANTIZED_NF4, 4, 64, DTYPE_BF16, DTYPE_U8, 0, false},
    {"nf4, f16, blocks of 256", QUANTIZED_NF4, 4, 256, DTYPE_F16, DTYPE_F32, 0, false},
    {"fp4", QUANTIZED_FP4, 4, 64, DTYPE_BF16, DTYPE_F32, 0, false},
    {"gptq", QUANTIZED_GPTQ, 4, 32, DTYPE_F32, DTYPE_F16, QUANTIZED_ZEROS_WORD_LESS_ONE, false},
    {"gptq, act order", QUANTIZED_GPTQ, 4, 16, DTYPE_F32, DTYPE_F16, QUANTIZED_ZEROS_PLAIN, true},
    {"gptq, 2 bits", QUANTIZED_GPTQ, 2, 16, DTYPE_F32, DTYPE_F16, QUANTIZED_ZEROS_LESS_ONE, false},
    {"gptq, 3 bits", QUANTIZED_GPTQ, 3, 32, DTYPE_F32, DTYPE_BF16, QUANTIZED_ZEROS_LESS_ONE, false},
    {"gptq, 8 bits", QUANTIZED_GPTQ, 8, 0, DTYPE_F32, DTYPE_F32, QUANTIZED_ZEROS_PLAIN, false},
    {"awq", QUANTIZED_AWQ, 4, 32, DTYPE_F32, DTYPE_F16, 0, false},
};
enum { TINY_LAYOUT_COUNT = sizeof TINY_LAYOUTS / sizeof *TINY_LAYOUTS };

struct tiny_quantized {
    struct quantized q;
    void *codes, *scales, *zeros;
    float *nested_scales, *nested_map;
    int32_t *g_idx;
    size_t codes_size, scales_size, zeros_size;
    int64_t groups; /* blocks, or groups of inputs */
};

static int64_t tiny_group_of(const struct tiny_layout *l, int64_t groups, int64_t group, int64_t i)
{
    return l->act_order ? i * 7 % groups : i / group;
}

static void tiny_put_zero(struct tiny_quantized *t, int64_t g, int64_t o, uint32_t zero)
{
    static const int place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    const struct quantized *q = &t->q;
    if (q->kind == QUANTIZED_AWQ) {
        uint32_t *word = (uint32_t *)t->zeros + g * (q->out / 8) + o / 8;
        *word |= zero << 4 * place[o % 8];
        return;
    }
    uint32_t *words = (uint32_t *)t->zeros + g * (q->out * q->bits / 32);
    int64_t bit = o * q->bits;
    uint64_t v = (uint64_t)(q->zeros_stored == QUANTIZED_ZEROS_PLAIN ? zero : zero - 1) << bit % 32;
    words[bit / 32] |= (uint32_t)v;
    if (v >> 32)
        words[bit / 32 + 1] |= (uint32_t)(v >> 32);
}

/* Scales and zeros of groups of inputs; zeros are at least 1, as the older format wants them. */
static void tiny_fit_groups(struct tiny_quantized *t, const float *w, const struct tiny_layout *l)
{
    struct quantized *q = &t->q;
    t->groups = (q->in + q->group - 1) / q->group;
    t->scales_size = (size_t)(t->groups * q->out) * dtype_size(q->scale_type);
    t->scales = mem_zalloc(t->scales_size, 1);
    t->zeros_size = (size_t)(t->groups * q->out * q->bits / 8);
    t->zeros = mem_zalloc(t->zeros_size + 4, 1);
    t->g_idx = mem_array(NULL, (size_t)q->in, sizeof *t->g_idx);
    for (int64_t i = 0; i < q->in; i++)
        t->g_idx[i] = (int32_t)tiny_group_of(l, t->groups, q->group, i);
    for (int64_t o = 0; o < q->out; o++)
        for (int64_t g = 0; g < t->groups; g++) {
            float least = 0, most = 0, top = (float)((1 << q->bits) - 1);
            for (int64_t i = 0; i < q->in; i++)
                if (t->g_idx[i] == g) {
                    least = fminf(least, w[o * q->in + i]);
                    most = fmaxf(most, w[o * q->in + i]);
                }
            float scale = most > least ? (most - least) / top : 1;
            dtype_from_f32((char *)t->scales + (size_t)(g * q->out + o) * dtype_size(q->scale_type), q->scale_type, &scale, 1);
            tiny_put_zero(t, g, o, (uint32_t)fminf(fmaxf(rintf(-least / scale), 1), top));
        }
    q->zeros = t->zeros;
    q->g_idx = q->kind == QUANTIZED_GPTQ ? t->g_idx : NULL;
}

/* Largest magnitudes of blocks (or rows), and, nested, the map on which they lie. */
static void tiny_fit_blocks(struct tiny_quantized *t, const float *w)
{
    struct quantized *q = &t->q;
    int64_t all = q->out * q->in, group = q->kind == QUANTIZED_INT8 ? q->in : q->group;
    t->groups = (all + group - 1) / group;
    float *absmax = mem_zalloc((size_t)t->groups, sizeof *absmax), sum = 0;
    for (int64_t e = 0; e < all; e++)
        absmax[e / group] = fmaxf(absmax[e / group], fabsf(w[e]));
    t->scales = absmax;
    t->scales_size = (size_t)t->groups * sizeof *absmax;
    if (q->scale_type != DTYPE_U8)
        return;
    int64_t n = (t->groups + QUANTIZED_NESTED_BLOCK - 1) / QUANTIZED_NESTED_BLOCK;
    uint8_t *codes = mem_zalloc((size_t)t->groups, 1);
    t->nested_map = mem_array(NULL, 256, sizeof *t->nested_map);
    t->nested_scales = mem_zalloc((size_t)n, sizeof *t->nested_scales);
    for (int i = 0; i < 256; i++)
        t->nested_map[i] = (float)(i - 127) / 128;
    for (int64_t b = 0; b < t->groups; b++)
        sum += absmax[b];
    q->nested_offset = sum / (float)t->groups;
    for (int64_t b = 0; b < t->groups; b++)
        t->nested_scales[b / 256] = fmaxf(t->nested_scales[b / 256], fabsf(absmax[b] - q->nested_offset));
    for (int64_t b = 0; b < t->groups; b++)
        codes[b] = (uint8_t)(127 + rintf((absmax[b] - q->nested_offset) / t->nested_scales[b / 256] * 127));
    t->scales = codes;
    t->scales_size = (size_t)t->groups;
    q->nested_map = t->nested_map;
    q->nested_scales = t->nested_scales;
    free(absmax);
}

static void tiny_quantize(struct tiny_quantized *t, const struct kernels *k, const float *w, int64_t out, int64_t in, const struct tiny_layout *l)
{
    *t = (struct tiny_quantized){.q = {l->kind, l->bits, out, in, l->group ? l->group : in, l->value_type, NULL, NULL, l->scale_type}};
    struct quantized *q = &t->q;
    q->zeros_stored = l->zeros;
    if (q->kind == QUANTIZED_GPTQ || q->kind == QUANTIZED_AWQ)
        tiny_fit_groups(t, w, l);
    else
        tiny_fit_blocks(t, w);
    q->scales = t->scales;
    t->codes_size = (size_t)((out * in * q->bits + 7) / 8);
    t->codes = mem_zalloc(t->codes_size + 1, 1);
    q->codes = t->codes;
    float *copy = mem_array(NULL, (size_t)(out * in), sizeof *copy);
    memcpy(copy, w, (size_t)(out * in) * sizeof *copy);
    k->requantize(copy, q, t->codes, t->scales);
    free(copy);
}

__attribute__((unused)) static void tiny_quantized_release(struct tiny_quantized *t)
{
    free(t->codes);
    free(t->scales);
    free(t->zeros);
    free(t->nested_scales);
    free(t->nested_map);
    free(t->g_idx);
}

#endif
