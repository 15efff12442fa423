/* Products of few rows in bf16 over every kind of weight: layouts that tensor cores take on a device, sizes that no tile fits, groups short and long; the bits of a
 * row in any company, of a list, and of a second time. */
#include "tests/unit/quantized_check.h"

#define F DTYPE_F32
#define H DTYPE_F16
#define B DTYPE_BF16
static const struct shape SHAPES[] = {
    {QUANTIZED_INT8, 8, 72, 208, 0, F, F, 0, 0},
    {QUANTIZED_INT8, 8, 130, 1040, 0, F, F, 0, 0},
    {QUANTIZED_NF4, 4, 100, 320, 64, B, F, 0, 0},
    {QUANTIZED_NF4, 4, 37, 192, 128, H, DTYPE_U8, 0, 0},
    {QUANTIZED_FP4, 4, 130, 576, 64, F, DTYPE_U8, 0, 0},
    {QUANTIZED_FP4, 4, 33, 64, 4096, B, F, 0, 0},
    {QUANTIZED_GPTQ, 4, 136, 384, 128, F, H, QUANTIZED_ZEROS_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 4, 72, 160, 32, F, B, QUANTIZED_ZEROS_WORD_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 4, 64, 352, 352, F, H, QUANTIZED_ZEROS_PLAIN, 0},
    {QUANTIZED_GPTQ, 3, 160, 384, 128, F, H, QUANTIZED_ZEROS_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 3, 96, 96, 96, F, B, QUANTIZED_ZEROS_PLAIN, 0},
    {QUANTIZED_GPTQ, 2, 80, 256, 128, F, H, QUANTIZED_ZEROS_WORD_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 2, 144, 80, 80, F, H, QUANTIZED_ZEROS_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 8, 132, 192, 64, F, H, QUANTIZED_ZEROS_LESS_ONE, 0},
    {QUANTIZED_GPTQ, 8, 64, 100, 32, F, H, QUANTIZED_ZEROS_WORD_LESS_ONE, 0},
    {QUANTIZED_AWQ, 4, 136, 256, 128, F, H, 0, 0},
    {QUANTIZED_AWQ, 4, 72, 96, 32, F, B, 0, 0},
    {QUANTIZED_AWQ, 4, 264, 70, 70, F, H, 0, 0},
};
#undef F
#undef H
#undef B
#define N_SHAPES ((int)(sizeof SHAPES / sizeof *SHAPES))

/* Rows of a product of 16, a few at a time and each alone. */
static bool rows_stay(const struct level *l, const struct matmul *whole)
{
    bool same = rows_equal(l, whole, 0, 16) && rows_equal(l, whole, 3, 5) && rows_equal(l, whole, 7, 9) && rows_equal(l, whole, 1, 8);
    for (int i = 0; i < 16; i += level_is_emulated(l) ? 5 : 1)
        same = same && rows_equal(l, whole, i, 1);
    return same;
}

static void test_weight(const struct level *l, int i)
{
    static const int64_t rows[] = {1, 4, 8, 9, 16, 2, 15};
    struct weight w = weight_new(&SHAPES[i]);
    int bad = 0;
    for (int r = level_is_emulated(l) ? i % 3 : 0; r < 7; r += level_is_emulated(l) ? 3 : 1)
        bad += !agrees(l, &w, rows[r], false, true);
    ok(bad == 0, "%s: few rows, %s", l->name, w.name);
    struct factor a = input_new(16, w.q.in, DTYPE_F32);
    float *c = block_new(16 * w.q.out, 2);
    struct matmul m = {16, w.q.out, w.q.in, a.mat, {NULL, DTYPE_F32, 1, w.q.in, &w.q}, c, w.q.out, 1, 0, true};
    l->k.matmul(&m, 1);
    ok(rows_stay(l, &m), "%s: same bits in any company, %s", l->name, w.name);
    free(a.memory), block_free(c), weight_free(&w);
}

/* y = x W^T with W where tensor cores can take it. */
static struct factor weight_dense(int64_t n, int64_t k, enum dtype type)
{
    struct factor w = input_new(n + 1, (k + 7) / 8 * 8 - 2, type); /* two elements more are between its rows */
    w.mat = (struct mat){w.memory, type, 1, (k + 7) / 8 * 8};
    return w;
}

static void test_dense(const struct level *l, enum dtype type)
{
    static const int64_t ns[] = {1, 16, 65, 200}, ks[] = {8, 64, 72, 77, 520}, rows[] = {1, 3, 8, 9, 16};
    int bad = 0, turn = 0;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 5; j++, turn++) {
            struct factor a = input_new(rows[turn % 5], ks[j], turn % 4 ? DTYPE_F32 : DTYPE_BF16), b = weight_dense(ns[i], ks[j], type);
            struct matmul m = {rows[turn % 5], ns[i], ks[j], a.mat, b.mat, NULL, ns[i] + turn % 2 * 3, turn % 3 ? 1 : -0.75f, (float)(turn % 2), true};
            bad += !product_agrees(l, m);
            free(a.memory), free(b.memory);
        }
    ok(bad == 0, "%s: few rows by %s", l->name, dtype_name(type));
}

/* More inputs than lie in shared memory, and blocks that go from tile to tile. */
static void test_deep(const struct level *l, const struct quantized *q, int64_t n, int64_t k)
{
    struct factor a = input_new(16, k, DTYPE_F32), b = weight_dense(n, k, DTYPE_BF16);
    float *c = block_new(16 * n, 1), *again = block_new(16 * n, 2);
    struct matmul m = {16, n, k, a.mat, b.mat, NULL, n, 1, 0, true};
    if (!q)
        ok(product_agrees(l, m), "%s: 16 rows, %dx%d", l->name, (int)n, (int)k);
    else
        m.b = (struct mat){NULL, DTYPE_F32, 1, k, q};
    m.c = again;
    l->k.matmul(&m, 1);
    m.c = c;
    l->k.matmul(&m, 1);
    ok(!memcmp(c, again, (size_t)(16 * n) * sizeof *c), "%s: 16 rows, %dx%d%s, twice", l->name, (int)n, (int)k, q ? " of codes" : "");
    ok(rows_equal(l, &m, 2, 1) && rows_equal(l, &m, 6, 4), "%s: %dx%d%s, same bits in any company", l->name, (int)n, (int)k, q ? " of codes" : "");
    free(a.memory), free(b.memory), block_free(c), block_free(again);
}

/* More products than go out at once, of several layouts, some of more rows than others and one of terms: the bits of each alone. */
static void test_together(const struct level *l, const struct quantized *q)
{
    enum { N = 12, K = 320 };
    struct factor a = input_new(9, K, DTYPE_F32), low = input_new(9, 16, DTYPE_F32), b = weight_dense(200, K, DTYPE_BF16), up = weight_dense(100, 16, DTYPE_F32);
    struct matmul_term term = {16, low.mat, up.mat, 0.5f};
    struct matmul m[N];
    float *alone[N];
    bool same = true;
    for (int i = 0; i < N; i++) {
        alone[i] = block_new(9 * 100, 7);
        m[i] = (struct matmul){i % 4 ? 9 : 3, i % 3 ? 100 : 40, K, a.mat, b.mat, alone[i], 100, 1, (float)(i % 2), true};
        if (i > 9)
            m[i].b = (struct mat){NULL, DTYPE_F32, 1, K, q}, m[i].n = q->out;
        if (i % 5 == 1)
            m[i].more = &term, m[i].n_more = 1;
        l->k.matmul(m + i, 1);
        m[i].c = block_new(9 * 100, 7);
    }
    l->k.matmul(m, N);
    for (int i = 0; i < N; i++) {
        same = same && !memcmp(m[i].c, alone[i], 9 * 100 * sizeof(float));
        block_free(m[i].c), block_free(alone[i]);
    }
    ok(same, "%s: products of few rows that go out together have the bits of each alone", l->name);
    free(a.memory), free(low.memory), free(b.memory), free(up.memory);
}

int main(void)
{
    levels_open();
    struct weight codes = weight_new(&SHAPES[2]), many = weight_new(&(struct shape){QUANTIZED_NF4, 4, 300, 1088, 64, DTYPE_BF16, DTYPE_F32, 0, 0});
    for (int i = 0; i < n_levels; i++) {
        const struct level *l = &levels[i];
        test_dense(l, DTYPE_BF16);
        test_dense(l, DTYPE_F16);
        test_dense(l, DTYPE_F32);
        for (int j = 0; j < N_SHAPES; j++)
            test_weight(l, j);
        test_deep(l, NULL, 330, 1304);
        test_deep(l, &many.q, 300, 1088);
        test_together(l, &codes.q);
    }
    weight_free(&codes), weight_free(&many);
    return tap_end();
}
