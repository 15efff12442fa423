/* The measuring table of operations computes what the plain one does, and counts what it did. */
#include "kernels/profile.h"

#include <string.h>

#include "tests/unit/kernels_check.h"
#include "tests/unit/tap.h"

static const struct kernels *plain, *measured;

static void test_matmul(void)
{
    enum { M = 20, N = 24, K = 36 };
    float *a = block_new(M * K, 1), *b = block_new(K * N, 2), *c = block_new(M * N, 3), *d = block_copy(c, M * N);
    struct matmul m = {M, N, K, {a, DTYPE_F32, K, 1}, {b, DTYPE_F32, N, 1}, c, N, 1, 0, false, NULL, 0};
    double before = profile_flops();
    plain->matmul(&m, 1);
    m.c = d;
    measured->matmul(&m, 1);
    ok(!memcmp(c, d, M * N * sizeof *c), "a product is the same");
    ok(profile_flops() - before == 2 * M * N * K, "and its FLOPs are counted");
    block_free(a), block_free(b), block_free(c), block_free(d);
}

/* What is counted for attention, against the pairs one by one. */
static void test_attention(void)
{
    enum { ROWS = 40, H = 2, D = 8 };
    float *q = block_new(ROWS * H * D, 1), *k = block_new(ROWS * D, 2), *v = block_new(ROWS * D, 3), *out = block_new(ROWS * H * D, 4), lse[ROWS * H];
    int bad = 0;
    for (int window = 0; window < 45; window += 3)
        for (int k_len = 1; k_len <= ROWS; k_len += 6)
            for (int q_len = 1; q_len <= k_len; q_len += 2) {
                struct attention_seq s = {.q_row = 0, .q_len = q_len, .k = k, .v = v, .k_len = k_len};
                struct attention a = {1, &s, q, out, lse, H * D, D, H * D, H, 1, D, window, 0.3f, 0, NULL, NULL};
                double before = profile_flops(), pairs = 0;
                measured->attention(&a);
                for (int i = 0; i < q_len; i++)
                    for (int p = 0, at = k_len - q_len + i; p <= at; p++)
                        pairs += window == 0 || p > at - window;
                bad += profile_flops() - before != 4.0 * H * D * pairs;
            }
    ok(bad == 0, "attention counts the pairs that see each other");
    struct attention_seq s = {.q_len = ROWS, .k = k, .v = v, .k_len = ROWS, .fork_at = 10, .fork_end = 24};
    struct attention a = {1, &s, q, out, lse, H * D, D, H * D, H, 1, D, 13, 0.3f, 0, NULL, NULL};
    double before = profile_flops(), pairs = 0;
    measured->attention(&a);
    for (int i = 0; i < ROWS; i++) {
        int at = i < 24 ? i : i - 14;
        pairs += at < 12 ? at + 1 : 13;
    }
    ok(profile_flops() - before == 4.0 * H * D * pairs, "also behind a fork");
    block_free(q), block_free(k), block_free(v), block_free(out);
}

static void test_text(void)
{
    struct buf b = BUF_INIT;
    profile_write(&b, 5);
    ok(strstr(buf_str(&b), "\nproducts ") && strstr(buf_str(&b), "\nattention of few rows "), "operations that ran are shown");
    ok(!strstr(buf_str(&b), "\noptimizer "), "others are not");
    ok(strstr(buf_str(&b), "\nbetween operations ") && strstr(buf_str(&b), "     5.000 s  100.0 %"), "the rest, and the whole");
    buf_release(&b);
}

int main(void)
{
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT;
    plain = kernels_open("cpu", &e);
    profile_write(&b, 1);
    ok(!b.len, "nothing to show before anything was measured");
    buf_release(&b);
    measured = kernels_profile(plain);
    test_matmul();
    test_attention();
    test_text();
    return tap_end();
}
