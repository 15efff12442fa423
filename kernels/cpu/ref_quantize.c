/* Encoders of bitsandbytes' layouts, the specification: its CPU backend from 0.50 on (backends/default/ops.py: quantize_4bit,
 * int8_vectorwise_quant), byte for byte. */
#include <math.h>

#include "kernels/cpu/cpu.h"

#define LEAST_ABSMAX 1e-38f

void quantize_steps(enum quantized_kind kind, uint8_t order[16], float bounds[15])
{
    static const uint8_t fp4[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};
    const float *values = kind == QUANTIZED_NF4 ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES;
    for (int i = 0; i < 16; i++)
        order[i] = kind == QUANTIZED_NF4 ? (uint8_t)i : fp4[i];
    for (int i = 0; i < 15; i++)
        bounds[i] = (values[order[i]] + values[order[i + 1]]) / 2;
}

static float input(const void *w, enum dtype type, int64_t i)
{
    float x;
    dtype_to_f32(&x, (const char *)w + i * (int64_t)dtype_size(type), type, 1);
    return x;
}

/* NaN is what no bound holds back. */
static int code_of(float x, const uint8_t order[16], const float bounds[15])
{
    int i = 0;
    while (i < 15 && !(bounds[i] >= x))
        i++;
    return order[i];
}

static float largest(const void *w, enum dtype type, int64_t first, int64_t last)
{
    float most = 0;
    for (int64_t i = first; i < last; i++) {
        float x = fabsf(input(w, type, i));
        most = x > most || isnan(x) ? x : most;
        if (isnan(most))
            return most;
    }
    return most;
}

/* Not fmaxf: NaN stays. */
static float at_least(float x, float least)
{
    return x < least ? least : x;
}

void ref_quantize_4bit(uint8_t *codes, float *absmax, enum quantized_kind kind, int64_t block, const void *w, enum dtype type, int64_t n)
{
    uint8_t order[16];
    float bounds[15];
    quantize_steps(kind, order, bounds);
    for (int64_t first = 0; first < n; first += block) {
        bool whole = first + block <= n;
        int64_t last = whole ? first + block : n;
        float most = largest(w, type, first, last), divisor = at_least(most, LEAST_ABSMAX);
        absmax[first / block] = whole ? most : divisor;
        for (int64_t i = first; i < last; i++) {
            float x = input(w, type, i);
            int code = code_of(whole ? x * (1.0f / divisor) : x / divisor, order, bounds);
            codes[i / 2] = (uint8_t)(i % 2 ? (codes[i / 2] & 0xf0) | code : code << 4 | (i == n - 1 ? code_of(0, order, bounds) : 0));
        }
    }
}

/* Weights pass through f16. */
static float input_f16(const void *w, enum dtype type, int64_t i)
{
    return f16_to_f32(f32_to_f16(input(w, type, i)));
}

void ref_quantize_rows_int8(int8_t *codes, float *scales, const void *w, enum dtype type, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++) {
        float most = 0;
        for (int64_t c = 0; c < cols && !isnan(most); c++) {
            float x = fabsf(input_f16(w, type, r * cols + c));
            most = x > most || isnan(x) ? x : most;
        }
        scales[r] = most;
        for (int64_t c = 0; c < cols; c++) {
            float q = rintf(input_f16(w, type, r * cols + c) * (1.0f / most * 127.0f));
            codes[r * cols + c] = isnan(q) ? 0 : (int8_t)q;
        }
    }
}
