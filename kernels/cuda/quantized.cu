/* Values of quantized weights, and the encoders of bitsandbytes' layouts, byte for byte those of cpu/ref_quantize.c. */
#include "kernels/cuda/quantized.h"

extern "C" {
#include "kernels/cpu/cpu.h"
}
#include "kernels/cuda/table.h"

#define THREADS 256

const float *quantized_tables(void)
{
    static float *there;
    struct err e = ERR_INIT;
    if (there)
        return there;
    if (!(there = (float *)cuda_alloc(32 * sizeof *there, &e))) {
        cuda_failed("%s", e.text);
        return NULL;
    }
    cuda_copy_in(there, QUANTIZED_NF4_VALUES, 16 * sizeof *there);
    cuda_copy_in(there + 16, QUANTIZED_FP4_VALUES, 16 * sizeof *there);
    return there;
}

/* ---- values ---- */

static __global__ void dequantize_kernel(void *out, enum dtype type, int64_t ld, struct quantized_source s, int64_t row0, int64_t rows, int64_t col0,
                                         int64_t cols)
{
    for (int64_t at = grid_thread(); at < rows * cols; at += grid_threads()) {
        int64_t o = at / cols, i = at % cols;
        store_as(out, type, o * ld + i, quantized_value(&s, row0 + o, col0 + i));
    }
}

void quantized_values(void *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols)
{
    struct quantized_source s = quantized_source_of(q);
    if (!s.tables || rows * cols <= 0)
        return;
    if (type != DTYPE_BF16 || col0 != 0 || cols != q->in || !quantized_panel((uint16_t *)out, ld, q, row0, rows))
        LAUNCH(dequantize_kernel, grid_for(rows * cols, THREADS), THREADS, 0, out, type, ld, s, row0, rows, col0, cols);
}

/* ---- encoders ---- */

/* The largest magnitude of f(i), i in first .. end - 1, for all threads; NaN when one is. */
template <class F> static __device__ __forceinline__ float block_largest(int64_t first, int64_t end, F f)
{
    __shared__ float parts[THREADS / 32];
    float most = 0;
    int bad = 0;
    for (int64_t i = first + threadIdx.x; i < end; i += THREADS) {
        float x = fabsf(f(i));
        bad |= isnan(x);
        most = x > most ? x : most;
    }
    most = warp_max(most);
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = most;
    bad = __syncthreads_or(bad);
    for (int w = 0; w < THREADS / 32; w++)
        most = fmaxf(most, parts[w]);
    return bad ? NAN : most;
}

struct steps {
    uint8_t order[16];
    float bounds[15];
};

static __device__ __forceinline__ int code_of(float x, const struct steps *s)
{
    int i = 0;
    while (i < 15 && !(s->bounds[i] >= x))
        i++;
    return s->order[i];
}

#define LEAST_ABSMAX 1e-38f

static __global__ void __launch_bounds__(THREADS) quantize_4bit_kernel(uint8_t *codes, float *absmax, struct steps s, int64_t block, const void *w, enum dtype type,
                                                                       int64_t n)
{
    int64_t first = blockIdx.x * block;
    bool whole = first + block <= n;
    int64_t end = whole ? first + block : n;
    float most = block_largest(first, end, [=](int64_t i) { return stored_at(w, type, i); });
    float divisor = most < LEAST_ABSMAX ? LEAST_ABSMAX : most;
    if (threadIdx.x == 0)
        absmax[blockIdx.x] = whole ? most : divisor;
    for (int64_t i = first + 2 * threadIdx.x; i < end; i += 2 * THREADS) { /* blocks begin at whole bytes */
        int byte = 0;
        for (int e = 0; e < 2; e++) {
            float x = i + e < end ? stored_at(w, type, i + e) : 0;
            x = i + e == n ? 0 : whole ? x * (1.0f / divisor) : x / divisor;
            byte = byte << 4 | code_of(x, &s);
        }
        codes[i / 2] = (uint8_t)byte;
    }
}

static void quantize_4bit(uint8_t *codes, float *absmax, enum quantized_kind kind, int64_t block, const void *w, enum dtype type, int64_t n)
{
    struct steps s;
    quantize_steps(kind, s.order, s.bounds);
    if (n > 0)
        LAUNCH(quantize_4bit_kernel, (unsigned)((n + block - 1) / block), THREADS, 0, codes, absmax, s, block, w, type, n);
}

/* Weights pass through f16. */
static __device__ __forceinline__ float input_f16(const void *w, enum dtype type, int64_t i)
{
    return from_f16(round_to_f16(stored_at(w, type, i)));
}

static __global__ void __launch_bounds__(THREADS) quantize_rows_kernel(int8_t *codes, float *scales, const void *w, enum dtype type, int64_t cols)
{
    int64_t r = blockIdx.x, first = r * cols;
    float most = block_largest(first, first + cols, [=](int64_t i) { return input_f16(w, type, i); });
    if (threadIdx.x == 0)
        scales[r] = most;
    for (int64_t i = first + threadIdx.x; i < first + cols; i += THREADS) {
        float q = rintf(input_f16(w, type, i) * (1.0f / most * 127.0f));
        codes[i] = isnan(q) ? 0 : (int8_t)(int)q;
    }
}

static void quantize_rows_int8(int8_t *codes, float *scales, const void *w, enum dtype type, int64_t rows, int64_t cols)
{
    if (rows > 0)
        LAUNCH(quantize_rows_kernel, (unsigned)rows, THREADS, 0, codes, scales, w, type, cols);
}

void cuda_fill_requantize(struct kernels *k);

void cuda_fill_quantized(struct kernels *k)
{
    k->dequantize = quantized_values;
    k->quantize_4bit = quantize_4bit;
    k->quantize_rows_int8 = quantize_rows_int8;
    quantized_tables(); /* now: not while a graph is captured */
    cuda_fill_requantize(k);
}
