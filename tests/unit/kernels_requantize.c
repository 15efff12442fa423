/* Values onto the grid of a quantized weight: every layout, against all values that an element could have had. */
#include "tests/unit/kernels_check.h"
#include "tests/unit/tiny_quantized.h"

#define OUT 32
#define IN 96

static struct kernels k;

/* Sets the code of element (o, i). */
static void put(const struct quantized *q, uint8_t *codes, int64_t o, int64_t i, unsigned code)
{
    static const int place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    int64_t e = o * q->in + i, bit = 0;
    switch (q->kind) {
    case QUANTIZED_INT8: codes[e] = (uint8_t)code; return;
    case QUANTIZED_NF4:
    case QUANTIZED_FP4: codes[e / 2] = (uint8_t)(e % 2 ? (codes[e / 2] & 0xf0) | code : (codes[e / 2] & 0x0f) | code << 4); return;
    case QUANTIZED_GPTQ: bit = i * q->bits; break;
    case QUANTIZED_AWQ: bit = 4 * place[o % 8]; break;
    }
    for (int b = 0; b < q->bits; b++, bit++) { /* the word along the inputs, or that of this input */
        int64_t word = q->kind == QUANTIZED_GPTQ ? bit / 32 * q->out + o : i * (q->out / 8) + o / 8;
        uint8_t *byte = codes + word * 4 + bit % 32 / 8;
        *byte = (uint8_t)((*byte & ~(1u << bit % 8)) | (code >> b & 1) << bit % 8);
    }
}

static double error_of(float a, float b)
{
    return fabs((double)a - b);
}

/* No code brings the element nearer to `want`. */
static bool is_nearest(const struct tiny_quantized *t, float want, float got, int64_t o, int64_t i)
{
    struct quantized q = t->q;
    uint8_t *codes = mem_alloc(t->codes_size);
    double least = INFINITY;
    memcpy(codes, t->codes, t->codes_size);
    q.codes = codes;
    for (unsigned c = 0; c < 1u << q.bits; c++) {
        float v;
        put(&q, codes, o, i, c);
        spec.dequantize(&v, DTYPE_F32, 1, &q, o, 1, i, 1);
        least = (q.kind == QUANTIZED_INT8 && c == 128) || error_of(v, want) > least ? least : error_of(v, want); /* -128 is never written */
    }
    free(codes);
    double rounding = q.value_type == DTYPE_BF16 ? 0x1p-8 : q.value_type == DTYPE_F16 ? 0x1p-11 : 1e-6; /* the code is chosen before it */
    bool good = error_of(got, want) <= least + rounding * fabs(want);
    if (!good)
        printf("# element %lld, %lld: wanted %.9g, got %.9g, off by %.3g instead of %.3g\n", (long long)o, (long long)i, want, got, error_of(got, want), least);
    return good;
}

static double squares(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += error_of(a[j], b[j]) * error_of(a[j], b[j]);
    return sum;
}

/* The errors that are left, and those with the scales that `t` had: codes alone changed. */
static void check_kept(const struct tiny_quantized *t, const float *want, const float *got, const char *name)
{
    struct tiny_quantized one = *t;
    one.codes = mem_zalloc(t->codes_size, 1);
    one.q.codes = one.codes;
    double kept = 0;
    for (int64_t o = 0; o < OUT; o++)
        for (int64_t i = 0; i < IN; i++) {
            double least = INFINITY;
            for (unsigned c = 0; c < 1u << one.q.bits; c++) {
                float v;
                put(&one.q, one.codes, o, i, c);
                spec.dequantize(&v, DTYPE_F32, 1, &one.q, o, 1, i, 1);
                least = fmin(least, error_of(v, want[o * IN + i]));
            }
            kept += least * least;
        }
    double left = squares(want, got, OUT * IN);
    ok(left <= kept * (1 + 1e-5), "%s: no worse than with the scales as they were (%.4g, %.4g)", name, left, kept);
    free(one.codes);
}

static void check(const struct tiny_layout *l)
{
    struct tiny_quantized t;
    float *w = block_new(OUT * IN, 1), *noise = block_new(OUT * IN, 2), *got = block_new(OUT * IN, 3), *again = block_new(OUT * IN, 4);
    w[5] = 3; /* a block, and a group, of its own size */
    tiny_quantize(&t, &k, w, OUT, IN, l);
    uint8_t *codes = mem_alloc(t.codes_size), *scales = mem_alloc(t.scales_size);
    k.dequantize(got, DTYPE_F32, IN, &t.q, 0, OUT, 0, IN);
    memcpy(again, got, OUT * IN * sizeof *got);
    k.requantize(again, &t.q, codes, scales);
    ok(!memcmp(again, got, OUT * IN * sizeof *got), "%s: values of the grid stay", l->name);
    bool same = true;
    for (size_t j = 0; j < t.codes_size; j++)
        same &= codes[j] == ((uint8_t *)t.codes)[j];
    ok(same, "%s: so do codes", l->name);
    ok(l->kind == QUANTIZED_GPTQ || l->kind == QUANTIZED_AWQ || !memcmp(scales, t.scales, t.scales_size), "%s: and scales", l->name);

    for (int j = 0; j < OUT * IN; j++)
        w[j] = got[j] + 0.3f * noise[j];
    for (int j = 0; j < 64; j++) {
        w[IN * 4 + j] = 0;         /* a block of zeros where there are any */
        w[IN * 9 + j] *= 1.7f;     /* beyond what the scale reaches */
        w[IN * 12 + j] *= 1e-3f;
    }
    memcpy(got, w, OUT * IN * sizeof *w);
    k.requantize(got, &t.q, NULL, NULL);
    memcpy(again, w, OUT * IN * sizeof *w);
    omp_set_num_threads(3);
    struct tiny_quantized made = t;
    made.codes = codes;
    made.scales = l->kind == QUANTIZED_GPTQ || l->kind == QUANTIZED_AWQ ? t.scales : scales;
    made.q.codes = codes, made.q.scales = made.scales;
    k.requantize(again, &t.q, codes, scales);
    omp_set_num_threads(1);
    ok(!memcmp(got, again, OUT * IN * sizeof *got), "%s: whatever is wanted, and the threads", l->name);
    k.dequantize(again, DTYPE_F32, IN, &made.q, 0, OUT, 0, IN);
    ok(!memcmp(got, again, OUT * IN * sizeof *got), "%s: the bytes stand for the values", l->name);
    bool nearest = true;
    for (int64_t o = 0; o < OUT; o++)
        for (int64_t i = 0; i < IN; i++)
            nearest = nearest && is_nearest(&made, w[o * IN + i], got[o * IN + i], o, i);
    ok(nearest, "%s: no other code is nearer", l->name);
    check_kept(&t, w, got, l->name);
    ok(block_margins_kept(got, OUT * IN) && block_margins_kept(again, OUT * IN), "%s: nothing beside is written", l->name);
    memcpy(again, w, OUT * IN * sizeof *w);
    spec.requantize(again, &t.q, NULL, NULL);
    ok(!memcmp(got, again, OUT * IN * sizeof *got), "%s: the values of the specification", l->name);
    k.requantize(w, &t.q, t.codes, t.scales);
    ok(!memcmp(t.codes, codes, t.codes_size), "%s: in place", l->name);
    block_free(w), block_free(noise), block_free(got), block_free(again);
    free(codes), free(scales);
    tiny_quantized_release(&t);
}

/* The last block of 4 bits may be short, of an odd count: the half byte beyond stands for 0. */
static void check_short(enum quantized_kind kind, int beyond)
{
    const struct tiny_layout l = {"", kind, 4, 64, DTYPE_F32, DTYPE_F32, 0, false};
    struct tiny_quantized t;
    float *w = block_new(7 * 11, 5), *got = block_copy(w, 7 * 11), *again = block_new(7 * 11, 6);
    tiny_quantize(&t, &k, w, 7, 11, &l);
    k.requantize(got, &t.q, t.codes, t.scales);
    k.dequantize(again, DTYPE_F32, 11, &t.q, 0, 7, 0, 11);
    ok(!memcmp(got, again, 77 * sizeof *got) && (((uint8_t *)t.codes)[38] & 15) == beyond, "a short block of an odd count");
    float zeros[77] = {0};
    k.requantize(zeros, &t.q, t.codes, t.scales);
    bool good = true;
    for (int j = 0; j < 77; j++)
        good &= zeros[j] == 0;
    ok(good, "a matrix of zeros");
    block_free(w), block_free(got), block_free(again);
    tiny_quantized_release(&t);
}

/* Values between two levels belong to the lower one, those near nothing to the code of 0, and a block of subnormal numbers to zero. */
static void check_bounds(enum quantized_kind kind)
{
    const struct tiny_layout l = {"", kind, 4, 64, DTYPE_F32, DTYPE_F32, 0, false};
    struct tiny_quantized t;
    float *w = block_new(2 * 64, 7), bound[15], got[2 * 64];
    uint8_t code[16], codes[64], want[64];
    quantize_steps(kind, code, bound);
    for (int j = 0; j < 64; j++) {
        w[j] = j < 15 ? bound[j] : j < 30 ? nextafterf(bound[j - 15], 2) : j < 45 ? nextafterf(bound[j - 30], -2) : j == 45 ? 1 : (j - 55) * 1e-30f;
        w[64 + j] = (j - 32) * 1e-42f;
    }
    tiny_quantize(&t, &k, w, 2, 64, &l);
    memcpy(got, w, sizeof got);
    k.requantize(got, &t.q, codes, NULL);
    memcpy(got, w, sizeof got);
    spec.requantize(got, &t.q, want, NULL);
    bool good = !memcmp(codes, want, sizeof codes);
    const float *values = kind == QUANTIZED_NF4 ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES;
    for (int j = 0; j < 15; j++) /* the bounds themselves, and what is next above them */
        good = good && got[j] == values[code[j]] && got[15 + j] == values[code[j + 1]];
    ok(good, "values on the bounds");
    block_free(w);
    tiny_quantized_release(&t);
}

int main(void)
{
    levels_open();
    cpu_fill(&k, cpu_detect());
    if (getenv("FINETOOLS_TEST_DEVICE"))
        k = levels[0].k;
    for (int i = 0; i < TINY_LAYOUT_COUNT; i++)
        check(&TINY_LAYOUTS[i]);
    check_short(QUANTIZED_NF4, 7);
    check_short(QUANTIZED_FP4, 0);
    check_bounds(QUANTIZED_NF4);
    check_bounds(QUANTIZED_FP4);
    return tap_end();
}
