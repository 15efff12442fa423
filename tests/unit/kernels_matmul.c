/* Matrix products: each level against the specification over awkward sizes, strides and types; bits that must not move. */
#include "tests/unit/matmul_check.h"

static const int64_t sizes[] = {1, 3, 7, 16, 17, 59, 97, 257};
#define N_SIZES ((int)(sizeof sizes / sizeof *sizes))

static void test_shapes(const struct level *l, enum lay a_lay, enum lay b_lay, enum dtype type, bool round)
{
    int bad = 0, turn = 0, count = level_is_slow(l) ? N_SIZES - 1 : N_SIZES, step = level_is_slow(l) ? 5 : 3;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++)
            for (int k = (i + j) % step; k < count; k += step, turn++) {
                struct factor a = factor_new(sizes[i], sizes[k], a_lay, round ? type : DTYPE_F32, 1);
                struct factor b = factor_new(sizes[k], sizes[j], b_lay, type, 2);
                struct matmul m = {sizes[i], sizes[j], sizes[k], a.mat, b.mat, NULL, sizes[j] + turn % 2 * 5,
                                   turn % 3 ? 1 : -0.375f, turn % 2 ? 1 : 0, round};
                bad += !product_agrees(l, m);
                free(a.memory), free(b.memory);
            }
    ok(bad == 0, "matmul %s: A lay %d, B lay %d, type %s%s", l->name, a_lay, b_lay, dtype_name(type), round ? ", rounded to bf16" : "");
}

/* Depths beyond one block, and no depth at all. */
static void test_depths(const struct level *l)
{
    static const int64_t depths[] = {0, 1025, 2049, 4100};
    int bad = 0;
    for (int d = 0; d < 4; d++)
        for (int few = 0; few < 2; few++) {
            int64_t rows = few ? 5 : 31, cols = 45, depth = depths[d];
            struct factor a = factor_new(rows, depth + 1, ROWS, DTYPE_F32, 1), b = factor_new(depth + 1, cols, COLUMNS, DTYPE_BF16, 2);
            struct matmul m = {rows, cols, depth, a.mat, b.mat, NULL, cols, 1, (float)(d % 2), false};
            bad += !product_agrees(l, m);
            free(a.memory), free(b.memory);
        }
    ok(bad == 0, "matmul %s: depths 0, 1025, 2049, 4100", l->name);
}

/* A block of columns beyond the packed one. */
static void test_wide_output(const struct level *l)
{
    struct factor a = factor_new(19, 33, ROWS, DTYPE_F32, 1), b = factor_new(33, 4201, COLUMNS, DTYPE_F16, 2);
    struct matmul m = {19, 4201, 33, a.mat, b.mat, NULL, 4201, 1, 0, false};
    ok(product_agrees(l, m), "matmul %s: 4201 columns", l->name);
    free(a.memory), free(b.memory);
}

static void test_bits(const struct level *l, enum lay b_lay, enum dtype type, int64_t n)
{
    bool slow = level_is_slow(l);
    check_bits(l, (struct matmul){.m = 97, .n = n, .k = slow ? 330 : 700, .b.type = type}, b_lay, slow ? 5 : 1);
}

/* Products in one list, short and long and empty, have the bits of each alone. */
static void test_list(const struct level *l)
{
    static const int64_t cols[] = {17, 1, 130, 40, 64}, depths[] = {300, 300, 40, 0, 2100}, rows[] = {3, 3, 31, 2, 5};
    enum { N = 5 };
    struct matmul m[N];
    struct factor a[N], b[N];
    float *alone[N];
    bool same = true;
    for (int i = 0; i < N; i++) {
        a[i] = factor_new(rows[i], depths[i] + 1, ROWS, DTYPE_F32, 1);
        b[i] = factor_new(depths[i] + 1, cols[i], COLUMNS, DTYPE_BF16, 2);
        alone[i] = block_new(rows[i] * cols[i], 3);
        m[i] = (struct matmul){rows[i], cols[i], depths[i], a[i].mat, b[i].mat, alone[i], cols[i], 1, (float)(i % 2), false};
        l->k.matmul(m + i, 1);
        m[i].c = block_new(rows[i] * cols[i], 3);
    }
    l->k.matmul(m, N);
    for (int i = 0; i < N; i++) {
        same = same && !memcmp(m[i].c, alone[i], (size_t)(rows[i] * cols[i]) * sizeof(float));
        block_free(m[i].c), block_free(alone[i]), free(a[i].memory), free(b[i].memory);
    }
    ok(same, "matmul %s: products of a list have the bits of each alone", l->name);
}

static void test_cuts(const struct level *l, int64_t rows, int64_t cols, enum lay b_lay)
{
    static const int64_t cuts[] = {0, 1, 70, 400, 1100};
    int64_t many[101]; /* more parts than a block holds */
    for (int i = 0; i <= 100; i++)
        many[i] = i * 11;
    check_cuts(l, rows, cols, b_lay, false, cuts, 4);
    check_cuts(l, rows, cols, b_lay, false, many, 100);
}

/* The specification itself against a product worked by hand. */
static void test_spec(void)
{
    float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, 2, -1, 1, 1}, c[] = {10, 20, 30, 40};
    struct matmul m = {2, 2, 3, {a, DTYPE_F32, 3, 1}, {b, DTYPE_F32, 1, 3}, c, 2, 2, 1, false};
    spec.matmul(&m, 1);
    ok(c[0] == 24 && c[1] == 28 && c[2] == 62 && c[3] == 54, "matmul specification: by hand");
}

int main(void)
{
    levels_open();
    test_spec();
    for (int i = 0; i < n_levels; i++) {
        const struct level *l = &levels[i];
        test_shapes(l, ROWS, COLUMNS, DTYPE_BF16, false);
        test_shapes(l, ROWS, ROWS, DTYPE_F16, false);
        test_shapes(l, COLUMNS, ROWS, DTYPE_F32, false);
        test_shapes(l, ROWS, COLUMNS, DTYPE_F32, true);
        test_shapes(l, ROWS, COLUMNS, DTYPE_F16, true);
        test_shapes(l, SCATTERED, SCATTERED, DTYPE_BF16, false);
        test_depths(l);
        test_wide_output(l);
        test_list(l);
        check_terms(l, 7, true, false);
        check_terms(l, 59, true, false);
        check_terms(l, 59, false, false);
        check_terms(l, 59, true, true);
        test_cuts(l, 40, 16, ROWS);
        test_cuts(l, 130, 17, ROWS);
        test_cuts(l, 7, 97, ROWS);
        test_cuts(l, 7, 20, COLUMNS);
        test_bits(l, COLUMNS, DTYPE_BF16, 45);
        test_bits(l, ROWS, DTYPE_F32, 130);
        test_bits(l, COLUMNS, DTYPE_F32, 16);
    }
    return tap_end();
}
