/* Quantized weights: encoders against bitsandbytes' bytes and the fast levels against the specification. */
#include "tests/unit/kernels_check.h"

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

int main(void)
{
    levels_open();
    test_golden("specification", &spec);
    test_4bit_values("specification", &spec);
    test_int8_values("specification", &spec);
    return tap_end();
}
