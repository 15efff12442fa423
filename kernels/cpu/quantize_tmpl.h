/* Quantized weights to and from floats: the table's operations. Included after quantized_tmpl.h. */
#ifndef KERNELS_CPU_QUANTIZE_TMPL_H
#define KERNELS_CPU_QUANTIZE_TMPL_H

VEC void store_typed(char *p, enum dtype type, vf a, int n)
{
    char full[VL * 2];
    if (type == DTYPE_F32) {
        v_store_n((float *)(void *)p, a, n);
        return;
    }
    if (type == DTYPE_BF16)
        v_store_bf16(n < VL ? full : p, v_round_bf16(a));
    else
        v_store_f16(n < VL ? full : p, a);
    if (n < VL)
        memcpy(p, full, (size_t)n * 2);
}

static void store_row(char *to, enum dtype type, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i += VL)
        store_typed(to + i * (int64_t)dtype_size(type), type, v_load_n(from + i, n - i < VL ? (int)(n - i) : VL), n - i < VL ? (int)(n - i) : VL);
}

#include "kernels/cpu/dequantize_tmpl.h"

#define DEQUANTIZE_PIECE 512 /* of a row: it stays in the L1 cache */

static void dequantize_by_row(char *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols)
{
    int64_t size = (int64_t)dtype_size(type), pieces = (cols + DEQUANTIZE_PIECE - 1) / DEQUANTIZE_PIECE;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < rows * pieces; t++) {
        float values[DEQUANTIZE_PIECE];
        int64_t o = t / pieces, at = t % pieces * DEQUANTIZE_PIECE, n = cols - at < DEQUANTIZE_PIECE ? cols - at : DEQUANTIZE_PIECE;
        int64_t done = dequantize_batches(out + (o * ld + at) * size, type, q, (row0 + o) * q->in + col0 + at, n);
        at += done, n -= done;
        if (type == DTYPE_F32) {
            unpack_row((float *)(void *)(out + (o * ld + at) * size), q, row0 + o, col0 + at, n);
        } else {
            unpack_row(values, q, row0 + o, col0 + at, n);
            store_row(out + (o * ld + at) * size, type, values, n);
        }
    }
}

/* values[k][l] to row l, column k of out; some of both. */
static void store_across(char *out, enum dtype type, int64_t ld, const float *values, int64_t rows, int64_t steps)
{
    int64_t size = (int64_t)dtype_size(type);
    for (int64_t l = 0; l < rows; l += VL)
        for (int64_t k = 0; k < steps; k += VL) {
            vf block[VL];
            int n = steps - k < VL ? (int)(steps - k) : VL;
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++)
                block[i] = i < n ? v_load(values + (k + i) * UNPACK_WIDE + l) : v_set(0);
            v_transpose(block);
#pragma GCC unroll 16
            for (int i = 0; i < VL; i++)
                if (l + i < rows)
                    store_typed(out + ((l + i) * ld + k) * size, type, block[i], n);
        }
}

static void dequantize_strip(char *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row, int64_t rows, int64_t col0, int64_t cols)
{
    struct unpack u;
    float values[UNPACK_STEPS * UNPACK_WIDE + VL];
    int64_t before = row % 8;
    unpack_open(&u, q, row - before, before + rows);
    for (int64_t i = before ? 0 : dequantize_words(out, type, ld, &u, rows, col0, cols); i < cols; i += UNPACK_STEPS) {
        int64_t n = cols - i < UNPACK_STEPS ? cols - i : UNPACK_STEPS;
        unpack_steps(values, UNPACK_WIDE, &u, col0 + i, n);
        store_across(out + i * (int64_t)dtype_size(type), type, ld, values + before, rows, n);
    }
}

#define DEQUANTIZE_COLS 1024 /* of a task */

static void ISA(dequantize)(void *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols)
{
    if (quantized_by_row(q)) {
        dequantize_by_row(out, type, ld, q, row0, rows, col0, cols);
        return;
    }
    int64_t first = row0 / UNPACK_WIDE, strips = (row0 + rows + UNPACK_WIDE - 1) / UNPACK_WIDE - first, across = (cols + DEQUANTIZE_COLS - 1) / DEQUANTIZE_COLS;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < strips * across; t++) {
        int64_t strip = (first + t / across) * UNPACK_WIDE, from = strip > row0 ? strip : row0, to = strip + UNPACK_WIDE;
        int64_t col = t % across * DEQUANTIZE_COLS, n = cols - col < DEQUANTIZE_COLS ? cols - col : DEQUANTIZE_COLS;
        to = to < row0 + rows ? to : row0 + rows;
        dequantize_strip((char *)out + ((from - row0) * ld + col) * (int64_t)dtype_size(type), type, ld, q, from, to - from, col0 + col, n);
    }
}

/* ---- encoders ---- */

#define ENCODE_TASK (1 << 14) /* elements */

/* The largest magnitude of n elements; NaN when one is not finite. */
VEC float encode_largest(const char *w, enum load_kind kind, int64_t n, bool by_f16)
{
    vf most = v_set(0), bad = v_set(0);
    for (int64_t i = 0; i < n; i += VL) {
        vf x = load_typed_n(w + i * load_size(kind), kind, n - i < VL ? (int)(n - i) : VL);
        x = by_f16 ? v_round_f16(x) : x;
        most = v_max(most, v_max(x, v_sub(v_set(0), x)));
        bad = v_add(bad, v_mul(x, v_set(0)));
    }
    return v_top(most) + v_sum(bad);
}

struct encoder {
    vf bounds[16 / VL], order[16 / VL]; /* order: codes as the bits of floats */
    float middle;
    enum quantized_kind kind;
};

static struct encoder encoder_of(enum quantized_kind kind)
{
    struct encoder c = {.kind = kind};
    uint8_t order[16];
    float bounds[16] = {0}, bits[16];
    quantize_steps(kind, order, bounds);
    for (int i = 0; i < 16; i++)
        memcpy(bits + i, &(uint32_t){order[i]}, 4);
    for (int i = 0; i < 16; i += VL)
        c.bounds[i / VL] = v_load(bounds + i), c.order[i / VL] = v_load(bits + i);
    c.middle = bounds[7];
    return c;
}

/* How many of the 15 bounds are less than x, by halving. */
VEC vi encode_step(const struct encoder *c, vf x)
{
    vi i = vi_if_less(v_set(c->middle), x, vi_set(8));
    i = vi_or(i, vi_if_less(v_lookup(c->bounds, vi_add(i, vi_set(3))), x, vi_set(4)));
    i = vi_or(i, vi_if_less(v_lookup(c->bounds, vi_add(i, vi_set(1))), x, vi_set(2)));
    return vi_or(i, vi_if_less(v_lookup(c->bounds, i), x, vi_set(1)));
}

/* A whole block whose size is a multiple of 2 VL; `named`, a constant: codes are not in the order of values. */
VEC void encode_block(uint8_t *codes, const struct encoder *c, const char *w, enum load_kind kind, int64_t block, float most, const bool named)
{
    vf scale = v_set(1.0f / (most < 1e-38f ? 1e-38f : most));
    for (int64_t i = 0; i < block; i += VL) {
        vi step = encode_step(c, v_mul(load_typed(w + i * load_size(kind), kind), scale));
        vi_store_nibbles(codes + i / 2, named ? vi_of_bits(v_lookup(c->order, step)) : step);
    }
}

VEC void encode_blocks(uint8_t *codes, float *absmax, const struct encoder *c, int64_t block, const char *w, enum dtype type, int64_t count, enum load_kind kind)
{
    for (int64_t b = 0; b < count; b++, codes += block / 2, w += block * load_size(kind)) {
        float most = encode_largest(w, kind, block, false);
        if (!(most == most))
            ref_quantize_4bit(codes, absmax + b, c->kind, block, w, type, block);
        else if (absmax[b] = most, c->kind == QUANTIZED_FP4)
            encode_block(codes, c, w, kind, block, most, true);
        else
            encode_block(codes, c, w, kind, block, most, false);
    }
}

static void ISA(quantize_4bit)(uint8_t *codes, float *absmax, enum quantized_kind kind, int64_t block, const void *w, enum dtype type, int64_t n)
{
    int64_t whole = block % 16 ? 0 : n / block, size = (int64_t)dtype_size(type), task = ENCODE_TASK / block > 1 ? ENCODE_TASK / block : 1;
    struct encoder c = encoder_of(kind);
#pragma omp parallel for schedule(static) if (whole > task)
    for (int64_t b = 0; b < whole; b += task) {
        int64_t count = whole - b < task ? whole - b : task;
        const char *from = (const char *)w + b * block * size;
        switch (type) {
        case DTYPE_BF16: encode_blocks(codes + b * block / 2, absmax + b, &c, block, from, type, count, LOAD_BF16); break;
        case DTYPE_F16: encode_blocks(codes + b * block / 2, absmax + b, &c, block, from, type, count, LOAD_F16); break;
        default: encode_blocks(codes + b * block / 2, absmax + b, &c, block, from, type, count, LOAD_F32);
        }
    }
    if (whole * block < n)
        ref_quantize_4bit(codes + whole * block / 2, absmax + whole, kind, block, (const char *)w + whole * block * size, type, n - whole * block);
}

VEC void encode_row(int8_t *codes, float *scale, const char *w, enum dtype type, int64_t cols, enum load_kind kind)
{
    int8_t end[VL];
    float most = encode_largest(w, kind, cols, true);
    vf unit = v_set(1.0f / most * 127.0f);
    if (!(most > 0)) {
        ref_quantize_rows_int8(codes, scale, w, type, 1, cols);
        return;
    }
    *scale = most;
    for (int64_t i = 0; i < cols; i += VL) {
        int n = cols - i < VL ? (int)(cols - i) : VL;
        vf x = v_round_f16(load_typed_n(w + i * load_size(kind), kind, n));
        vi_store_bytes(n < VL ? end : codes + i, vi_nearest(v_mul(x, unit)));
        if (n < VL)
            memcpy(codes + i, end, (size_t)n);
    }
}

static void ISA(quantize_rows_int8)(int8_t *codes, float *scales, const void *w, enum dtype type, int64_t rows, int64_t cols)
{
#pragma omp parallel for schedule(static) if (rows * cols > ENCODE_TASK)
    for (int64_t r = 0; r < rows; r++) {
        const char *from = (const char *)w + r * cols * (int64_t)dtype_size(type);
        switch (type) {
        case DTYPE_BF16: encode_row(codes + r * cols, scales + r, from, type, cols, LOAD_BF16); break;
        case DTYPE_F16: encode_row(codes + r * cols, scales + r, from, type, cols, LOAD_F16); break;
        default: encode_row(codes + r * cols, scales + r, from, type, cols, LOAD_F32);
        }
    }
}

#endif
