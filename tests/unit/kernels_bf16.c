/* Products of factors rounded to bf16 by the instructions for them, in hardware where the CPU has it, always in plain C as
 * Intel specifies them: against the specification over awkward sizes, strides and types; bits that must not move. */
#include <float.h>

#include "tests/unit/matmul_check.h"

static const int64_t sizes[] = {1, 15, 16, 17, 33, 65, 130};
#define N_SIZES ((int)(sizeof sizes / sizeof *sizes))

static void test_shapes(const struct level *l, enum lay a_lay, enum lay b_lay, enum dtype type)
{
    int bad = 0, turn = 0;
    for (int i = 0; i < N_SIZES; i++)
        for (int j = 0; j < N_SIZES; j++)
            for (int k = (i + j) % 2; k < N_SIZES; k += 2, turn++) {
                struct factor a = factor_new(sizes[i], sizes[k], a_lay, DTYPE_F32, 1);
                struct factor b = factor_new(sizes[k], sizes[j], b_lay, type, 2);
                struct matmul m = {sizes[i], sizes[j], sizes[k], a.mat, b.mat, NULL, sizes[j] + turn % 2 * 5,
                                   turn % 3 ? 1 : -0.375f, turn % 2 ? 1 : 0, true};
                bad += !product_agrees(l, m);
                free(a.memory), free(b.memory);
            }
    ok(bad == 0, "bf16 %s: A lay %d, B lay %d, type %s", l->name, a_lay, b_lay, dtype_name(type));
}

/* Beyond one block of the depth, of the rows, of the columns. */
static void test_blocks(const struct level *l)
{
    static const int64_t shapes[][3] = {{33, 20, 769}, {20, 33, 1700}, {1050, 17, 40}, {18, 2070, 33}};
    int bad = 0;
    for (int i = 0; i < 4; i++) {
        int64_t rows = shapes[i][0], cols = shapes[i][1], depth = shapes[i][2];
        struct factor a = factor_new(rows, depth, ROWS, DTYPE_F32, 1), b = factor_new(depth, cols, COLUMNS, DTYPE_BF16, 2);
        struct matmul m = {rows, cols, depth, a.mat, b.mat, NULL, cols, 1, (float)(i % 2), true};
        bad += !product_agrees(l, m);
        free(a.memory), free(b.memory);
    }
    ok(bad == 0, "bf16 %s: beyond one block", l->name);
}

static void test_bits(const struct level *l, enum lay b_lay, enum dtype type, int64_t n)
{
    check_bits(l, (struct matmul){.m = 150, .n = n, .k = 800, .b.type = type, .round_bf16 = true}, b_lay, 5);
}

static void test_cuts(const struct level *l, int64_t rows, int64_t cols, enum lay b_lay)
{
    static const int64_t cuts[] = {0, 1, 34, 34, 70, 400, 1300}; /* one is empty */
    check_cuts(l, rows, cols, b_lay, true, cuts, 6);
}

/* In one list with products of f32, few rows and nothing. */
static void test_list(const struct level *l)
{
    static const int64_t rows[] = {3, 40, 2, 33, 40}, depths[] = {50, 70, 40, 0, 70};
    enum { N = 5, COLS = 37 };
    struct matmul m[N];
    struct factor a[N], b[N];
    float *alone[N];
    bool same = true;
    for (int i = 0; i < N; i++) {
        a[i] = factor_new(rows[i], depths[i] + 1, ROWS, DTYPE_F32, 1);
        b[i] = factor_new(depths[i] + 1, COLS, COLUMNS, DTYPE_BF16, 2);
        alone[i] = block_new(rows[i] * COLS, 3);
        m[i] = (struct matmul){rows[i], COLS, depths[i], a[i].mat, b[i].mat, alone[i], COLS, 1, (float)(i % 2), i != 4};
        l->k.matmul(m + i, 1);
        m[i].c = block_new(rows[i] * COLS, 3);
    }
    l->k.matmul(m, N);
    for (int i = 0; i < N; i++) {
        same = same && !memcmp(m[i].c, alone[i], (size_t)(rows[i] * COLS) * sizeof(float));
        block_free(m[i].c), block_free(alone[i]), free(a[i].memory), free(b[i].memory);
    }
    ok(same, "bf16 %s: products of a list have the bits of each alone", l->name);
}

struct in_turn {
    const struct level *l;
    struct matmul m[3]; /* each reads what the one before wrote */
};

static void run_in_turn(void *arg)
{
    struct in_turn *t = arg;
    for (int i = 0; i < 3; i++)
        t->l->k.matmul(t->m + i, 1);
}

/* Run by a team (kernels/cpu/team.h), the second as few rows: the bits of one thread. */
static void test_team(const struct level *l)
{
    enum { N = 40 };
    struct factor w = factor_new(N, N, COLUMNS, DTYPE_BF16, 2);
    float *x = block_new(N * N, 1), *y[2][3];
    struct in_turn t = {.l = l};
    for (int team = 0; team < 2; team++) {
        for (int i = 0; i < 3; i++) {
            y[team][i] = block_new(N * N, 3);
            const float *from = i ? y[team][i - 1] : x;
            t.m[i] = (struct matmul){i == 1 ? 8 : N, N, N, {from, DTYPE_F32, N, 1}, w.mat, y[team][i], N, 1, 0, true};
        }
        omp_set_num_threads(team ? 3 : 1);
        if (team)
            l->k.team(run_in_turn, &t);
        else
            run_in_turn(&t);
    }
    omp_set_num_threads(1);
    bool same = true;
    for (int i = 0; i < 3; i++) {
        same = same && !memcmp(y[0][i], y[1][i], N * N * sizeof *x);
        block_free(y[0][i]), block_free(y[1][i]);
    }
    ok(same, "bf16 %s: in a team, the bits of one thread", l->name);
    block_free(x), free(w.memory);
}

/* One element that is not finite is felt in its row and its column alone; what is subnormal counts as zero. */
static void test_odd_values(const struct level *l)
{
    enum { M = 20, N = 18, K = 37 };
    float a[M * K], b[K * N], c[M * N];
    bool good = true;
    for (int i = 0; i < M * K; i++)
        a[i] = 1;
    for (int i = 0; i < K * N; i++)
        b[i] = 2;
    a[3 * K + 36] = INFINITY, a[17 * K + 2] = NAN, b[5 * N + 17] = -INFINITY;
    for (int k = 0; k < K; k++)
        a[k] = FLT_MIN / 4, b[k * N] = FLT_MAX / 64;
    struct matmul m = {M, N, K, {a, DTYPE_F32, K, 1}, {b, DTYPE_F32, N, 1}, c, N, 1, 0, true};
    l->k.matmul(&m, 1);
    for (int i = 1; i < M; i++)
        for (int j = 1; j < N; j++) {
            float x = c[i * N + j];
            good = good && (i == 17 || (i == 3 && j == 17) ? isnan(x) : i == 3 ? x == INFINITY : j == 17 ? x == -INFINITY : x == 2 * K);
        }
    ok(good, "bf16 %s: infinities and NaN go where they belong", l->name);
    good = true;
    for (int j = 0; j < N - 1; j++)
        good = good && c[j] == 0;
    ok(good, "bf16 %s: subnormal factors count as zero", l->name);
}

static void add_bf16(const char *name, void (*under)(struct kernels *), void (*fill)(struct kernels *))
{
    struct level *l = &levels[n_levels++];
    l->name = name;
    cpu_fill_ref(&l->k);
    under(&l->k);
    fill(&l->k);
}

int main(void)
{
    omp_set_num_threads(1);
    cpu_fill_ref(&spec);
#ifdef __x86_64__
    unsigned found = cpu_detect();
    if ((found & CPU_LEVEL_AVX2) == CPU_LEVEL_AVX2) { /* which the plain C is built with, for its fused multiply-adds */
        add_bf16("dot in C", cpu_fill_wide, cpu_fill_bf16_dot_wide);
        add_bf16("amx in C", cpu_fill_wide, cpu_fill_bf16_amx_wide);
    }
    if ((found & CPU_LEVEL_AVX512_BF16) == CPU_LEVEL_AVX512_BF16)
        add_bf16("avx512_bf16", cpu_fill_avx512, cpu_fill_bf16_avx512);
    else
        skip("this CPU has no AVX-512 BF16");
    if ((found & CPU_LEVEL_AMX) == CPU_LEVEL_AMX)
        add_bf16("amx", cpu_fill_avx512, cpu_fill_bf16_amx);
    else
        skip("this CPU has no AMX");
#else
    add_bf16("dot in C", cpu_fill_wide, cpu_fill_bf16_dot_wide);
    add_bf16("amx in C", cpu_fill_wide, cpu_fill_bf16_amx_wide);
#endif
    for (int i = 0; i < n_levels; i++) {
        const struct level *l = &levels[i];
        ok(l->k.multiplies_bf16, "bf16 %s: says that it multiplies bf16", l->name);
        test_shapes(l, ROWS, COLUMNS, DTYPE_BF16);
        test_shapes(l, ROWS, ROWS, DTYPE_F16);
        test_shapes(l, COLUMNS, ROWS, DTYPE_F32);
        test_shapes(l, SCATTERED, SCATTERED, DTYPE_BF16);
        test_blocks(l);
        test_bits(l, COLUMNS, DTYPE_BF16, 45);
        test_bits(l, ROWS, DTYPE_F32, 130);
        test_cuts(l, 40, 16, ROWS);
        test_cuts(l, 7, 97, ROWS);
        test_cuts(l, 18, 20, COLUMNS);
        test_list(l);
        check_terms(l, 7, true, true);
        check_terms(l, 59, true, true);
        check_terms(l, 59, false, true);
        test_team(l);
        test_odd_values(l);
    }
    return tap_end();
}
