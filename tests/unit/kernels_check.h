/* Help for the tests of kernels: every level this machine can run, and the comparison rule.
 *
 * A fast kernel is held against the specification through the truth, the same formula in double:
 *     error(fast) <= 2 * error(specification) + a few units in the last place of the largest value
 * (the rule of FlashAttention's tests). With FINETOOLS_TEST_DEVICE=cuda the one level is the device of FINETOOLS_CUDA_SO. Outputs live in blocks with margins on both sides that must stay as they were. */
#ifndef KERNELS_CHECK_H
#define KERNELS_CHECK_H

#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/cpu/cpu.h"
#include "tests/unit/device_calls.h"
#include "tests/unit/tap.h"

struct level {
    const char *name;
    struct kernels k;
};

static struct kernels spec;
static struct level levels[4];
static int n_levels;

__attribute__((unused)) static void add_level(const char *name, void (*fill)(struct kernels *))
{
    struct level *l = &levels[n_levels++];
    l->name = name;
    cpu_fill_ref(&l->k);
    fill(&l->k);
}

__attribute__((unused)) static void levels_open(void)
{
    omp_set_num_threads(1); /* waiting for a team costs more than these sizes; tests of threads set their own count */
    cpu_fill_ref(&spec);
    if (getenv("FINETOOLS_TEST_DEVICE")) {
        add_level("cuda", device_fill);
        if (strstr(on_device->features, "emulated"))
            levels[0].name = "emulated cuda";
        return;
    }
#ifdef __x86_64__
    if ((cpu_detect() & CPU_LEVEL_AVX2) == CPU_LEVEL_AVX2) {
        add_level("wide", cpu_fill_wide); /* built with these instructions where there are any */
        add_level("avx2", cpu_fill_avx2);
    }
    if ((cpu_detect() & CPU_LEVEL_AVX512) == CPU_LEVEL_AVX512)
        add_level("avx512", cpu_fill_avx512);
#elif defined __aarch64__
    add_level("neon", cpu_fill_neon);
#else
    add_level("wide", cpu_fill_wide);
#endif
}

/* A device on the CPU, each access looked at: short lengths. */
__attribute__((unused)) static bool level_is_emulated(const struct level *l)
{
    return !strncmp(l->name, "emulated", 8);
}

/* Plain C lanes: fewer sizes. */
__attribute__((unused)) static bool level_is_slow(const struct level *l)
{
    return !strcmp(l->name, "wide") || level_is_emulated(l);
}

#define MARGIN 64
#define MARGIN_VALUE 12345.678f

/* n floats with margins, uniform in [-1, 1) from a stream; freed by block_free. */
__attribute__((unused)) static float *block_new(int64_t n, uint64_t stream)
{
    float *p = mem_array(NULL, (size_t)n + 2 * MARGIN, sizeof *p);
    struct rng r = {7, stream};
    for (int64_t i = 0; i < n + 2 * MARGIN; i++)
        p[i] = i < MARGIN || i >= n + MARGIN ? MARGIN_VALUE : 2 * rng_uniform(&r, (uint64_t)i) - 1;
    return p + MARGIN;
}

__attribute__((unused)) static float *block_copy(const float *from, int64_t n)
{
    float *p = mem_array(NULL, (size_t)n + 2 * MARGIN, sizeof *p);
    memcpy(p, from - MARGIN, ((size_t)n + 2 * MARGIN) * sizeof *p);
    return p + MARGIN;
}

__attribute__((unused)) static void block_free(float *p)
{
    free(p - MARGIN);
}

__attribute__((unused)) static bool block_margins_kept(const float *p, int64_t n)
{
    for (int i = 0; i < MARGIN; i++)
        if (p[-1 - i] != MARGIN_VALUE || p[n + i] != MARGIN_VALUE)
            return false;
    return true;
}

/* The rule above over n values; says what is wrong as a TAP comment. */
__attribute__((unused)) static bool as_good(const float *fast, const float *naive, const double *truth, int64_t n, const char *what)
{
    double fast_error = 0, naive_error = 0, largest = 0;
    int64_t worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs(fast[i] - truth[i]), f = fabs(naive[i] - truth[i]);
        if (!(e <= fast_error))
            fast_error = e, worst = i;
        naive_error = f > naive_error ? f : naive_error;
        largest = fabs(truth[i]) > largest ? fabs(truth[i]) : largest;
    }
    if (fast_error <= 2 * naive_error + 4 * 0x1p-24 * largest)
        return true;
    printf("# %s: off by %.3g at %lld (specification: %.3g, largest value %.3g)\n", what, fast_error, (long long)worst, naive_error, largest);
    return false;
}

#endif
