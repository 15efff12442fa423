/* Values onto the grid of a quantized weight: kernels.h, requantize. What decides between two scales of a block is a sum of squared errors in
 * LANES parts, each in order, as in cpu/ref_requantize.c, so that the choices are the same. */
#include <float.h>

#include "kernels/cuda/quantized.h"

extern "C" {
#include "kernels/cpu/levels.h"
}
#include "kernels/cuda/table.h"
#include "kernels/nested_level.h"

#define THREADS 128
#define LANES 16

/* ---- blocks of 4 bits ---- */

/* A rank sort: few, and once a call. Equal values keep their order. */
static __global__ void __launch_bounds__(256) sort_map_kernel(struct nested *to, struct quantized q)
{
    int i = threadIdx.x, at = 0;
    float v = quantized_f32(q.nested_map, i);
    for (int j = 0; j < 256; j++) {
        float other = quantized_f32(q.nested_map, j);
        at += other < v || (other == v && j < i);
    }
    to->value[at] = v;
    to->code[at] = (uint8_t)i;
}

static __device__ __forceinline__ int level_of(const struct levels *l, float absmax, float x)
{
    float scaled = x * (absmax >= FLT_MIN ? 1 / absmax : 0);
    int place = 0;
    for (int k = 0; k < 15; k++)
        place += scaled > l->bound[k];
    return place;
}

static __device__ __forceinline__ float level_value(const struct levels *l, const struct quantized *q, float absmax, float x)
{
    return quantized_rounded(l->value[level_of(l, absmax, x)] * absmax, q->value_type);
}

static __device__ float largest(const float *x, int64_t n)
{
    float most = 0;
    for (int64_t j = 0; j < n; j++)
        most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
    return most;
}

/* The sum over j of (value(x[j]) - x[j])^2 */
template <class F> static __device__ float squared_errors(const float *x, int64_t n, F value)
{
    float lanes[LANES], sum = 0;
#pragma unroll
    for (int i = 0; i < LANES; i++) {
        lanes[i] = 0;
        for (int64_t j = i; j < n; j += LANES) {
            float d = value(x[j]) - x[j];
            lanes[i] += d * d;
        }
    }
#pragma unroll
    for (int i = 0; i < LANES; i++)
        sum += lanes[i];
    return sum;
}

/* A thread has a block. */
static __global__ void requantize_4bit_kernel(float *w, struct quantized q, struct levels l, const struct nested *m, uint8_t *codes, void *scales)
{
    int64_t all = q.out * q.in, blocks = (all + q.group - 1) / q.group;
    for (int64_t b = grid_thread(); b < blocks; b += grid_threads()) {
        int64_t first = b * q.group, n = all - first < q.group ? all - first : q.group;
        float *x = w + first, kept = quantized_absmax(&q, b), absmax = largest(x, n);
        uint8_t code = m ? nearest_level(m, quantized_f32(q.nested_scales, b / QUANTIZED_NESTED_BLOCK), q.nested_offset, absmax, &absmax) : 0;
        float with_kept = squared_errors(x, n, [&](float v) { return level_value(&l, &q, kept, v); });
        float with_new = squared_errors(x, n, [&](float v) { return level_value(&l, &q, absmax, v); });
        if (absmax == kept || with_kept <= with_new) {
            absmax = kept;
            code = m ? ((const uint8_t *)q.scales)[b] : 0;
        }
        for (int64_t j = 0; j < n; j += 2) {
            int high = level_of(&l, absmax, x[j]), low = j + 1 < n ? level_of(&l, absmax, x[j + 1]) : -1;
            if (codes)
                codes[(first + j) / 2] = (uint8_t)(l.code[high] << 4 | (low >= 0 ? l.code[low] : q.kind == QUANTIZED_NF4 ? 7 : 0)); /* beyond the end: 0 */
            x[j] = quantized_rounded(l.value[high] * absmax, q.value_type);
            if (low >= 0)
                x[j + 1] = quantized_rounded(l.value[low] * absmax, q.value_type);
        }
        if (scales && m)
            ((uint8_t *)scales)[b] = code;
        else if (scales)
            ((float *)scales)[b] = absmax;
    }
}

static void requantize_4bit(float *w, const struct quantized *q, uint8_t *codes, void *scales)
{
    int64_t blocks = (q->out * q->in + q->group - 1) / q->group;
    struct nested *m = NULL;
    if (q->scale_type == DTYPE_U8) {
        if (!(m = (struct nested *)cuda_scratch(CUDA_SCRATCH_QUANTIZED, sizeof *m)))
            return;
        LAUNCH(sort_map_kernel, 1, 256, 0, m, *q);
    }
    LAUNCH(requantize_4bit_kernel, grid_for(blocks, THREADS), THREADS, 0, w, *q, levels_of(q->kind), m, codes, scales);
}

/* ---- rows of 8 bits ---- */

static __device__ __forceinline__ float int8_code(float x, float scale)
{
    float c = rintf(x * (scale >= FLT_MIN ? 127 / scale : 0)) + 0.0f; /* -0 has no code */
    return c > 127 ? 127 : c < -127 ? -127 : c;
}

static __device__ __forceinline__ float int8_value(float c, float scale)
{
    return c * scale * 0.007874015718698502f;
}

/* A thread has a row. */
static __global__ void requantize_int8_kernel(float *w, struct quantized q, int8_t *codes, float *scales)
{
    for (int64_t o = grid_thread(); o < q.out; o += grid_threads()) {
        float *x = w + o * q.in, kept = quantized_f32(q.scales, o), scale = largest(x, q.in);
        float with_kept = squared_errors(x, q.in, [=](float v) { return int8_value(int8_code(v, kept), kept); });
        float with_new = squared_errors(x, q.in, [=](float v) { return int8_value(int8_code(v, scale), scale); });
        scale = with_kept <= with_new ? kept : scale;
        for (int64_t j = 0; j < q.in; j++) {
            float c = int8_code(x[j], scale);
            if (codes)
                codes[o * q.in + j] = (int8_t)(int)c;
            x[j] = int8_value(c, scale);
        }
        if (scales)
            scales[o] = scale;
    }
}

/* ---- words of groups ---- */

static __device__ __forceinline__ float group_code(const struct quantized *q, float x, float scale, float zero)
{
    const float most = (float)((1u << q->bits) - 1);
    float c = scale != 0 ? rintf(x / scale) + zero : zero;
    return c < 0 ? 0 : c > most ? most : c;
}

static __global__ void group_values_kernel(float *w, struct quantized q, uint8_t *plain)
{
    for (int64_t at = grid_thread(); at < q.out * q.in; at += grid_threads()) {
        int64_t o = at / q.in, i = at % q.in, g = quantized_group(&q, i);
        float scale = stored_at(q.scales, q.scale_type, g * q.out + o), zero = (float)quantized_zero(&q, g, o), c = group_code(&q, w[at], scale, zero);
        w[at] = scale * (c - zero);
        if (plain)
            plain[at] = (uint8_t)c;
    }
}

/* A thread has a word: of GPTQ word r of output o, of AWQ the 8 outputs at 8r of input o. */
static __global__ void group_words_kernel(uint32_t *words, struct quantized q, const uint8_t *plain)
{
    bool awq = q.kind == QUANTIZED_AWQ;
    int64_t wide = awq ? q.out / 8 : q.out, all = awq ? q.in * wide : q.in * q.bits / 32 * wide;
    for (int64_t at = grid_thread(); at < all; at += grid_threads()) {
        int64_t r = at / wide, k = at % wide;
        uint32_t word = 0;
        for (int j = 0; awq && j < 8; j++)
            word |= (uint32_t)plain[(8 * k + j) * q.in + r] << awq_shift(j);
        for (int64_t i = r * 32 / q.bits; !awq && i < q.in && i * q.bits < 32 * (r + 1); i++) {
            int64_t shift = i * q.bits - 32 * r; /* of fields of 3 bits the first may have begun in the word before */
            uint32_t code = plain[k * q.in + i];
            word |= shift < 0 ? code >> -shift : code << shift;
        }
        words[at] = word;
    }
}

static void requantize_groups(float *w, const struct quantized *q, uint32_t *codes)
{
    int64_t all = q->out * q->in;
    uint8_t *plain = codes ? (uint8_t *)cuda_scratch(CUDA_SCRATCH_QUANTIZED, (size_t)all) : NULL;
    if (codes && !plain)
        return;
    LAUNCH(group_values_kernel, grid_for(all, THREADS), THREADS, 0, w, *q, plain);
    if (codes)
        LAUNCH(group_words_kernel, grid_for(all * q->bits / 32, THREADS), THREADS, 0, codes, *q, plain);
}

static void requantize(float *w, const struct quantized *q, void *codes, void *scales)
{
    if (q->out * q->in <= 0)
        return;
    switch (q->kind) {
    case QUANTIZED_INT8: LAUNCH(requantize_int8_kernel, grid_for(q->out, THREADS), THREADS, 0, w, *q, (int8_t *)codes, (float *)scales); break;
    case QUANTIZED_NF4:
    case QUANTIZED_FP4: requantize_4bit(w, q, (uint8_t *)codes, scales); break;
    case QUANTIZED_GPTQ:
    case QUANTIZED_AWQ: requantize_groups(w, q, (uint32_t *)codes); break;
    }
}

void cuda_fill_requantize(struct kernels *k)
{
    k->requantize = requantize;
}
