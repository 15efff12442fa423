/* Quantized weights: encoders against bitsandbytes' bytes; values, encoders and products of the fast levels against the specification, bits
 * that must not move, and no byte read behind the end of an array. */
#include <float.h>

#include "tests/unit/quantized_check.h"

/* The numbers of tests/golden/make_quantize.py. */
static float *golden_values(int64_t n)
{
    float *x = mem_array(NULL, (size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)(i + 1) * 2654435761u;
        u ^= u >> 15, u *= 0x2c1b3c6du, u ^= u >> 12;
        x[i] = i / 97 % 5 == 3 ? 0 : ldexpf(((float)(u >> 8) - 0x1p23f) * 0x1p-23f, (int)-(i / 50 % 7));
    }
    return x;
}

static void *stored(const float *x, enum dtype type, int64_t n)
{
    void *p = mem_array(NULL, (size_t)n, dtype_size(type));
    dtype_from_f32(p, type, x, (size_t)n);
    return p;
}

static uint32_t crc32_of(const void *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= ((const uint8_t *)p)[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* One line of tests/golden/quantize.txt. */
static bool golden_case(const struct kernels *k, const char *kind, const char *type_name, long a, long b, unsigned codes_crc, unsigned scales_crc)
{
    bool rows = !strcmp(kind, "int8");
    int64_t n = rows ? a * b : b, n_codes = rows ? n : (n + 1) / 2, n_scales = rows ? a : (n + a - 1) / a;
    enum dtype type = dtype_from_name(type_name);
    float *x = golden_values(n), *scales = mem_array(NULL, (size_t)n_scales, sizeof *scales);
    void *w = stored(x, type, n);
    uint8_t *codes = mem_alloc((size_t)n_codes);
    if (rows)
        k->quantize_rows_int8((int8_t *)codes, scales, w, type, a, b);
    else
        k->quantize_4bit(codes, scales, kind[0] == 'n' ? QUANTIZED_NF4 : QUANTIZED_FP4, a, w, type, n);
    bool same = crc32_of(codes, (size_t)n_codes) == codes_crc && crc32_of(scales, (size_t)n_scales * 4) == scales_crc;
    free(x), free(scales), free(w), free(codes);
    return same;
}

static void test_golden(const char *name, const struct kernels *k)
{
    FILE *f = fopen("tests/golden/quantize.txt", "r");
    char kind[8], type[8];
    long a, b;
    unsigned codes, scales;
    int cases = 0;
    while (f && fscanf(f, "%7s %7s %ld %ld %x %x", kind, type, &a, &b, &codes, &scales) == 6) {
        cases++;
        if (!golden_case(k, kind, type, a, b, codes, scales))
            ok(false, "%s: %s %s %ld %ld has bitsandbytes' bytes", name, kind, type, a, b);
    }
    ok(cases == 60, "%s: encoders give bitsandbytes' bytes", name);
    if (f)
        fclose(f);
}

/* Worked by hand, and what only a short last block does. */
static void test_4bit_values(const char *name, const struct kernels *k)
{
    static const float x[] = {0.5f, -1, 0.25f, 2}, three[] = {1, 0, -0.0f}, zeros[80] = {0}, none[] = {NAN, 1, INFINITY, 0};
    uint8_t codes[40];
    float absmax[2];
    k->quantize_4bit(codes, absmax, QUANTIZED_NF4, 64, x, DTYPE_F32, 4);
    ok(codes[0] == 0xa2 && codes[1] == 0x9f && absmax[0] == 2, "%s: NF4 of four values", name);
    k->quantize_4bit(codes, absmax, QUANTIZED_FP4, 64, x, DTYPE_F32, 4);
    ok(codes[0] == 0x7d && codes[1] == 0x63 && absmax[0] == 2, "%s: FP4 of four values", name);
    k->quantize_4bit(codes, absmax, QUANTIZED_NF4, 64, three, DTYPE_F32, 3);
    ok(codes[0] == 0xf7 && codes[1] == 0x77, "%s: NF4 of an odd count", name);
    k->quantize_4bit(codes, absmax, QUANTIZED_FP4, 64, three, DTYPE_F32, 3);
    ok(codes[0] == 0x30 && codes[1] == 0x00, "%s: FP4 of an odd count", name);
    k->quantize_4bit(codes, absmax, QUANTIZED_NF4, 64, zeros, DTYPE_F32, 80);
    ok(codes[0] == 0x77 && codes[39] == 0x77 && absmax[0] == 0 && absmax[1] == 9.9999994e-39f, "%s: NF4 of zeros", name);
    k->quantize_4bit(codes, absmax, QUANTIZED_NF4, 2, none, DTYPE_F32, 4);
    ok(codes[0] == 0xff && isnan(absmax[0]) && codes[1] == 0xf7 && absmax[1] == INFINITY, "%s: NF4 of what is not finite", name);
}

static void test_int8_values(const char *name, const struct kernels *k)
{
    static const float x[3][8] = {{127, .5f, 1.5f, 2.5f, -.5f, -1.5f, -2.5f, 3.5f}, {0}, {1, INFINITY, -1, NAN}};
    static const int8_t want[3][8] = {{127, 0, 2, 2, 0, -2, -2, 4}};
    int8_t codes[3][8];
    float scales[3];
    k->quantize_rows_int8(codes[0], scales, x[0], DTYPE_F32, 3, 8);
    ok(!memcmp(codes, want, sizeof want) && scales[0] == 127 && scales[1] == 0 && isnan(scales[2]), "%s: int8 of three rows", name);
}

/* ---- values ---- */

#define F DTYPE_F32
#define H DTYPE_F16
#define B DTYPE_BF16
static const struct shape SHAPES[] = {
    {QUANTIZED_INT8, 8, 70, 97, 0, F, F, 0, 0},
    {QUANTIZED_NF4, 4, 40, 128, 64, B, F, 0, 0},
    {QUANTIZED_NF4, 4, 33, 100, 64, H, DTYPE_U8, 0, 0},
    {QUANTIZED_NF4, 4, 25, 192, 128, H, F, 0, 0},
    {QUANTIZED_FP4, 4, 24, 2112, 64, F, DTYPE_U8, 0, 0},
    {QUANTIZED_NF4, 4, 21, 45, 32, F, F, 0, 0},
    {QUANTIZED_FP4, 4, 19, 333, 128, B, DTYPE_U8, 0, 0},
    {QUANTIZED_FP4, 4, 7, 700, 4096, F, DTYPE_U8, 0, 0},
    {QUANTIZED_NF4, 4, 3, 77, 10, H, F, 0, 0},
    {QUANTIZED_GPTQ, 4, 128, 256, 128, F, H, QUANTIZED_ZEROS_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 4, 192, 160, 32, F, B, QUANTIZED_ZEROS_WORD_LESS_ONE, 1},
    {QUANTIZED_GPTQ, 4, 72, 160, 32, F, F, QUANTIZED_ZEROS_PLAIN, 2},
    {QUANTIZED_GPTQ, 4, 64, 352, 352, F, H, QUANTIZED_ZEROS_PLAIN, 0},
    {QUANTIZED_GPTQ, 4, 64, 40, 4, F, H, QUANTIZED_ZEROS_PLAIN, 0},
    {QUANTIZED_GPTQ, 4, 80, 2200, 40, F, F, QUANTIZED_ZEROS_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 3, 96, 192, 64, F, H, QUANTIZED_ZEROS_LESS_ONE, 1},
    {QUANTIZED_GPTQ, 3, 64, 96, 96, F, F, QUANTIZED_ZEROS_PLAIN, 2},
    {QUANTIZED_GPTQ, 2, 80, 80, 16, F, H, QUANTIZED_ZEROS_WORD_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 2, 128, 64, 32, F, B, QUANTIZED_ZEROS_LESS_ONE, 1},
    {QUANTIZED_GPTQ, 8, 68, 76, 32, F, H, QUANTIZED_ZEROS_LESS_ONE, 2},
    {QUANTIZED_GPTQ, 8, 64, 2112, 128, F, H, QUANTIZED_ZEROS_WORD_LESS_ONE, 0},
    {QUANTIZED_AWQ, 4, 128, 96, 32, F, H, 0, 0},
    {QUANTIZED_AWQ, 4, 72, 70, 70, F, B, 0, 0},
    {QUANTIZED_AWQ, 4, 320, 2100, 100, F, F, 0, 0},
};
#undef F
#undef H
#undef B
#define N_SHAPES ((int)(sizeof SHAPES / sizeof *SHAPES))

/* The part that begins at (row, col), in every type, with another row's length. */
static bool part_equal(const struct level *l, const struct weight *w, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    bool same = true;
    for (int t = 0; t < 3; t++) {
        int64_t ld = cols + t, n = rows * ld;
        float *want = block_new(n, 5), *got = block_copy(want, n);
        spec.dequantize(want, types[t], ld, &w->q, row, rows, col, cols);
        l->k.dequantize(got, types[t], ld, &w->q, row, rows, col, cols);
        same = same && !memcmp(want - MARGIN, got - MARGIN, (size_t)(n + 2 * MARGIN) * sizeof *got);
        block_free(want), block_free(got);
    }
    return same;
}

/* Whole rows in bf16 that begin at whole 16 bytes, as products of many rows ask for them. */
static bool panel_equal(const struct level *l, const struct weight *w, int64_t row, int64_t rows)
{
    int64_t cols = w->q.in, ld = (cols + 7) / 8 * 8 + 8, n = rows * ld;
    uint16_t *want = mem_zalloc((size_t)n, sizeof *want), *got = mem_zalloc((size_t)n, sizeof *got);
    spec.dequantize(want, DTYPE_BF16, ld, &w->q, row, rows, 0, cols);
    l->k.dequantize(got, DTYPE_BF16, ld, &w->q, row, rows, 0, cols);
    bool same = !memcmp(want, got, (size_t)n * sizeof *got);
    free(want), free(got);
    return same;
}

static void test_values(const struct level *l)
{
    for (int i = 0; i < N_SHAPES; i++) {
        struct weight w = weight_new(&SHAPES[i]);
        int64_t out = w.q.out, in = w.q.in;
        bool same = true;
        for (int threads = 1; threads <= 2; threads++) {
            omp_set_num_threads(threads);
            same = same && part_equal(l, &w, 0, out, 0, in) && part_equal(l, &w, 1, out - 1, in / 2, in - in / 2) &&
                   part_equal(l, &w, out / 3, out - out / 3 - 1, 3, in - 4) && part_equal(l, &w, out - 1, 1, in - 1, 1) &&
                   part_equal(l, &w, 2, 1, 0, in) && panel_equal(l, &w, 0, out) && (out < 24 || panel_equal(l, &w, 16, out - 16)) &&
                   panel_equal(l, &w, 1, out - 2);
        }
        omp_set_num_threads(1);
        ok(same, "%s: values, %s", l->name, w.name);
        weight_free(&w);
    }
}

/* ---- encoders ---- */

static void test_encoders(const struct level *l)
{
    static const int64_t blocks[] = {32, 64, 48, 256, 4096, 10};
    int bad = 0;
    for (int i = 0; i < 18; i++) {
        int64_t n = 9001 + i, block = blocks[i % 6], rows = 1 + i, cols = n / rows, n_absmax = (n + block - 1) / block;
        enum dtype type = (enum dtype)(i / 6);
        enum quantized_kind kind = i % 4 < 2 ? QUANTIZED_NF4 : QUANTIZED_FP4;
        struct guarded w = guarded_floats(n, type, true, (uint64_t)i);
        if (i % 3 == 0)
            dtype_from_f32((char *)w.data + 5000 * (int64_t)dtype_size(type), type, &(float){INFINITY}, 1);
        uint8_t *codes = mem_zalloc((size_t)(2 * n), 1);
        float *scales = mem_zalloc((size_t)(2 * n), sizeof *scales);
        spec.quantize_4bit(codes, scales, kind, block, w.data, type, n);
        l->k.quantize_4bit(codes + n, scales + n, kind, block, w.data, type, n);
        bad += memcmp(codes, codes + n, (size_t)n) != 0 || memcmp(scales, scales + n, (size_t)n_absmax * sizeof *scales) != 0;
        spec.quantize_rows_int8((int8_t *)codes, scales, w.data, type, rows, cols);
        l->k.quantize_rows_int8((int8_t *)codes + n, scales + n, w.data, type, rows, cols);
        bad += memcmp(codes, codes + n, (size_t)n) != 0 || memcmp(scales, scales + n, (size_t)rows * sizeof *scales) != 0;
        free(codes), free(scales), munmap(w.map, w.pages);
    }
    ok(bad == 0, "%s: encoders give the bytes of the specification", l->name);
}

/* ---- products ---- */

static void test_products(const struct level *l)
{
    static const int64_t rows[] = {1, 2, 3, 7, 16, 17, 60};
    for (int i = 0; i < N_SHAPES; i++) {
        struct weight w = weight_new(&SHAPES[i]);
        int bad = 0;
        for (int r = level_is_emulated(l) ? i % 2 : 0; r < 7; r += level_is_emulated(l) ? 5 : 1)
            bad += !agrees(l, &w, rows[r], false, false) + !agrees(l, &w, rows[r], true, false) + !agrees(l, &w, rows[r], r % 2, true);
        ok(bad == 0, "%s: products, %s", l->name, w.name);
        weight_free(&w);
    }
}

/* A row of x that is 1 once and 0 else gives the values of the weight, bit by bit, whatever the magnitudes of their blocks are; or, by bf16 on a device, what
 * they are before they are rounded, within 0.16 %. */
static void test_picked(const struct level *l, enum quantized_kind kind, bool round)
{
    enum { OUT = 131, IN = 192 };
    const struct shape s = {kind, 4, OUT, IN, 64, DTYPE_BF16, DTYPE_F32, 0, 0};
    struct weight w = weight_new(&s);
    float x[3][IN] = {{0}}, y[3][OUT], want[OUT * IN];
    for (uint32_t b = 0; b < OUT * IN / 64; b++) { /* exact in bf16 but for some: all exponents, all mantissas */
        uint32_t bits = b * 83 % 255 << 23 | b * 5 % 128 << 16 | (b % 7 == 0 ? b * 41 : 0);
        memcpy((char *)w.array[SCALES].data + 4 * b, &bits, 4);
    }
    bool same = true, near = round && on_device;
    struct quantized exact = w.q;
    exact.value_type = near ? DTYPE_F32 : w.q.value_type;
    spec.dequantize(want, DTYPE_F32, IN, &exact, 0, OUT, 0, IN);
    for (int i = 0; i < IN; i += 3) {
        struct matmul m = {3, OUT, IN, {x, DTYPE_F32, IN, 1}, {NULL, DTYPE_F32, 1, IN, &w.q}, y[0], OUT, 1, 0, round};
        for (int j = 0; j < 3; j++)
            x[j][i + j] = 1;
        l->k.matmul(&m, 1);
        for (int j = 0; j < 3; j++)
            for (int o = 0; o < OUT; o++) {
                float v = want[o * IN + i + j];
                same = same && fabsf(y[j][o] - v) <= (near ? 0.0016f * fabsf(v) + FLT_MIN : 0);
            }
        memset(x, 0, sizeof x);
    }
    uint16_t stored[2][OUT * IN];
    spec.dequantize(stored[0], DTYPE_BF16, IN, &w.q, 0, OUT, 0, IN);
    l->k.dequantize(stored[1], DTYPE_BF16, IN, &w.q, 0, OUT, 0, IN);
    same = same && !memcmp(stored[0], stored[1], sizeof *stored);
    ok(same, "%s: each value of %s by itself%s", l->name, kind == QUANTIZED_NF4 ? "NF4" : "FP4", round ? ", products of bf16" : "");
    weight_free(&w);
}

/* Inputs that are not finite, tiny or zero, by sums of codes. */
static void test_extremes(const struct level *l)
{
    const struct shape s = {QUANTIZED_GPTQ, 4, 64, 256, 64, DTYPE_F32, DTYPE_F16, QUANTIZED_ZEROS_PLAIN, 0};
    struct weight w = weight_new(&s);
    static const float large[] = {NAN, INFINITY, -INFINITY, 0x1p-140f, -0x1.fffffep100f, 0};
    float x[6][256], y[6][64], values[64 * 256];
    bool good = true;
    spec.dequantize(values, DTYPE_F32, 256, &w.q, 0, 64, 0, 256);
    for (int j = 0; j < 6; j++)
        for (int i = 0; i < 256; i++)
            x[j][i] = i == 70 ? large[j] : j == 5 ? 0 : 0x1p-10f;
    struct matmul m = {6, 64, 256, {x, DTYPE_F32, 256, 1}, {NULL, DTYPE_F32, 1, 256, &w.q}, y[0], 64, 1, 0, false};
    l->k.matmul(&m, 1);
    for (int o = 0; o < 64; o++) {
        double product = (double)large[4] * values[o * 256 + 70]; /* a difference of up to 15 times as much */
        good = good && !isfinite(y[0][o]) && y[5][o] == 0;
        good = good && (values[o * 256 + 70] == 0 || (!isfinite(y[1][o]) && !isfinite(y[2][o]) && fabs(y[4][o] - product) <= 0x1p-19 * fabs(product)));
        good = good && isfinite(y[3][o]);
    }
    ok(good, "%s: GPTQ of inputs that are not finite, large and small", l->name);
    weight_free(&w);
}

struct team_args {
    const struct kernels *k;
    const struct matmul *list;
};

static void team_body(void *arg)
{
    const struct team_args *t = arg;
    t->k->matmul(t->list, 2);
    t->k->matmul(t->list + 2, 1);
}

/* Any thread count, any company of rows, in a team or not. */
static void test_product_bits(const struct level *l, const struct shape *s)
{
    struct weight w = weight_new(s);
    const struct quantized *q = &w.q;
    int64_t rows = 40, count = rows * q->out;
    struct factor a = input_new(rows, q->in, DTYPE_F32);
    float *c = block_new(count, 2), *again = block_new(count, 3);
    struct matmul m = {rows, q->out, q->in, a.mat, {NULL, DTYPE_F32, 1, q->in, q}, c, q->out, 1, 0, false};
    bool same = true;
    l->k.matmul(&m, 1);
    for (int threads = 2; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        m.c = again;
        l->k.matmul(&m, 1);
        same = same && !memcmp(c, again, (size_t)count * sizeof *c);
    }
    m.c = c, m.m = 16;
    omp_set_num_threads(1);
    l->k.matmul(&m, 1);
    for (int64_t n = 1; n <= 16; n += 3)
        same = same && rows_equal(l, &m, 0, n) && rows_equal(l, &m, 16 - n, n);
    for (int threads = 1; threads <= 3; threads++) {
        struct matmul list[3] = {m, m, m};
        list[0].m = 3, list[1].m = 3, list[2].m = 10;
        for (int i = 0; i < 3; i++) {
            int64_t row = i == 0 ? 0 : i == 1 ? 3 : 6;
            list[i].a.data = (const char *)m.a.data + row * m.a.row_stride * 4;
            list[i].c = again + row * m.ldc;
        }
        omp_set_num_threads(threads);
        l->k.team(team_body, &(struct team_args){&l->k, list});
        same = same && !memcmp(c, again, (size_t)(16 * q->out) * sizeof *c);
    }
    omp_set_num_threads(1);
    ok(same, "%s: same bits for any threads, rows and team, %s", l->name, w.name);
    free(a.memory), block_free(c), block_free(again), weight_free(&w);
}

int main(void)
{
    levels_open();
    test_golden("specification", &spec);
    test_4bit_values("specification", &spec);
    test_int8_values("specification", &spec);
    for (int i = 0; i < n_levels; i++) {
        const struct level *l = &levels[i];
        test_golden(l->name, &l->k);
        test_4bit_values(l->name, &l->k);
        test_int8_values(l->name, &l->k);
        test_encoders(l);
        test_values(l);
        test_products(l);
        for (int j = 0; j < 4; j++)
            test_picked(l, j / 2 ? QUANTIZED_FP4 : QUANTIZED_NF4, j % 2);
        test_extremes(l);
        for (int j = 0; j < N_SHAPES; j += level_is_emulated(l) ? 4 : 1)
            test_product_bits(l, &SHAPES[j]);
    }
    return tap_end();
}
