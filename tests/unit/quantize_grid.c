/* Integers on a grid and the words of GPTQ and AWQ: worked vectors, cases by hand, and the words read back by the operations' specification. */
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "quantize/grid.h"
#include "tap.h"

static void worked_words(void)
{
    struct grid g;
    uint32_t codes[8], zeros[8];
    grid_init(&g, 8, 8, 0, 4);
    for (int o = 0; o < 8; o++) {
        for (int i = 0; i < 8; i++)
            g.codes[o * 8 + i] = (uint8_t)i;
        g.zeros[o] = (uint8_t)o;
    }
    grid_pack_gptq(codes, zeros, &g, false);
    is_int(codes[0], 0x76543210, "GPTQ, 4 bits: the lowest input in the lowest bits");
    is_int(codes[7], 0x76543210, "for every output");
    is_int(zeros[0], 0x76543210, "zeros along the outputs");
    grid_pack_gptq(codes, zeros, &g, true);
    is_int(zeros[0], 0x654320ff, "zeros less one as a whole word");
    for (int o = 0; o < 8; o++)
        for (int i = 0; i < 8; i++)
            g.codes[o * 8 + i] = (uint8_t)o;
    grid_pack_awq(codes, zeros, &g);
    is_int(codes[0], 0x75316420, "AWQ: outputs 0 2 4 6 1 3 5 7");
    is_int(codes[7], 0x75316420, "for every input");
    is_int(zeros[0], 0x75316420, "and the zeros");
    grid_release(&g);
    grid_init(&g, 32, 32, 32, 3);
    for (int o = 0; o < 32; o++)
        for (int i = 0; i < 32; i++)
            g.codes[o * 32 + i] = (uint8_t)(i % 8);
    for (int o = 0; o < 32; o++)
        g.zeros[o] = (uint8_t)(o % 8);
    uint32_t wide[96], narrow[3];
    grid_pack_gptq(wide, narrow, &g, false);
    ok(wide[31] == 0x88fac688 && wide[32 + 31] == 0xc688fac6 && wide[64 + 31] == 0xfac688fa, "GPTQ, 3 bits: fields run on into the next word");
    ok(narrow[0] == 0x88fac688 && narrow[1] == 0xc688fac6 && narrow[2] == 0xfac688fa, "and the zeros");
    for (int o = 0; o < 32; o++)
        g.zeros[o] = 4;
    grid_pack_gptq(wide, narrow, &g, true);
    ok(narrow[0] == 0xdb6db6db && narrow[1] == 0xb6db6db6 && narrow[2] == 0x6db6db6d, "3-bit zeros less one: a 3 in every field");
    grid_release(&g);
}

static void fits(void)
{
    struct grid g;
    const float x[4] = {-1, 0.25f, 0.5f, 2}, zero[4] = {0}, up[2] = {1, 3}, tiny[2] = {1e-12f, -1e-12f}, huge[2] = {1e9f, -1e9f};
    grid_init(&g, 1, 4, 0, 4);
    grid_fit(&g, 0, 0, x, 4, 1, false);
    is_near(g.scales[0], 0.199951171875, 0, "asymmetric: (2 + 1) / 15 in f16");
    is_int(g.zeros[0], 5, "zero: round(1 / scale)");
    is_int(grid_round(&g, 0, 0, -1), 0, "the least is code 0");
    is_int(grid_round(&g, 0, 0, 2), 15, "the most is code 15");
    is_int(grid_round(&g, 0, 0, 9), 15, "what lies outside is clamped");
    is_int(grid_round(&g, 0, 0, 0), 5, "0 is the zero");
    is_near(grid_value(&g, 0, 0, 7), 2 * 0.199951171875, 0, "values");
    grid_fit(&g, 0, 0, x, 4, 1, true);
    is_near(g.scales[0], 0.2666015625, 0, "symmetric: 4 / 15 in f16");
    is_int(g.zeros[0], 8, "zero: the middle");
    grid_fit(&g, 0, 0, x, 2, 2, true);
    is_near(g.scales[0], 0.1333007812, 1e-9, "every second element: 2 / 15");
    grid_fit(&g, 0, 0, up, 2, 1, false);
    ok(g.zeros[0] == 0 && fabsf(g.scales[0] - 0.2f) < 1e-4, "0 is always on the grid");
    grid_fit(&g, 0, 0, up, 2, 1, true);
    ok(g.zeros[0] == 8 && grid_round(&g, 0, 0, 3) == 15, "symmetric although all are positive");
    grid_fit(&g, 0, 0, zero, 4, 1, true);
    ok(g.zeros[0] == 8 && g.scales[0] == 0.1333007812f && grid_round(&g, 0, 0, 0) == 8, "a group of zeros: as if -1 and 1");
    grid_fit(&g, 0, 0, tiny, 2, 1, true);
    ok(g.scales[0] == 0x1p-24f && grid_round(&g, 0, 0, 1e-12f) == 8, "a scale below f16 is its least number");
    grid_fit(&g, 0, 0, huge, 2, 1, true);
    ok(g.scales[0] == 65504 && grid_round(&g, 0, 0, 1e9f) == 15, "one above it is its most");
    /* Ties to even: scale 1. */
    const float whole[2] = {-7.5f, 7.5f};
    grid_fit(&g, 0, 0, whole, 2, 1, true);
    ok(g.scales[0] == 1 && grid_round(&g, 0, 0, 0.5f) == 8 && grid_round(&g, 0, 0, 1.5f) == 10 && grid_round(&g, 0, 0, -0.5f) == 8, "ties to even");
    grid_release(&g);
}

/* What the words say, against what the grid says. */
static void read_back(int bits, bool awq, int64_t out, int64_t in, int64_t group, bool sym, bool less_one)
{
    struct err e = ERR_INIT;
    const struct kernels *k = kernels_open("cpu", &e);
    struct grid g;
    float *w = mem_array(NULL, (size_t)(out * in), sizeof *w), *got = mem_array(NULL, (size_t)(out * in), sizeof *got);
    struct rng r = {.seed = 1, .stream = (uint64_t)bits};
    for (int64_t i = 0; i < out * in; i++)
        w[i] = rng_normal(&r, (uint64_t)i);
    grid_init(&g, out, in, group, bits);
    grid_round_to_nearest(&g, w, sym);
    for (int64_t i = 0; i < in && group && !awq; i++) /* any order of the inputs */
        g.g_idx[i] = (int32_t)((i * 7 + 3) % g.groups);
    uint32_t *codes = mem_zalloc((size_t)(out * in * bits / 32), 4), *zeros = mem_zalloc((size_t)(g.groups * out * bits / 32), 4);
    if (awq)
        grid_pack_awq(codes, zeros, &g);
    else
        grid_pack_gptq(codes, zeros, &g, less_one);
    struct quantized q = {.kind = awq ? QUANTIZED_AWQ : QUANTIZED_GPTQ, .bits = bits, .out = out, .in = in, .group = g.group, .value_type = DTYPE_F32,
                          .codes = codes, .scales = g.scales, .scale_type = DTYPE_F32, .zeros = zeros, .g_idx = awq ? NULL : g.g_idx,
                          .zeros_stored = less_one ? QUANTIZED_ZEROS_LESS_ONE : QUANTIZED_ZEROS_PLAIN};
    k->dequantize(got, DTYPE_F32, in, &q, 0, out, 0, in);
    bool same = true;
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            same &= got[o * in + i] == grid_value(&g, g.g_idx[i], o, g.codes[o * in + i]);
    ok(same, "%s, %d bits, (%d, %d), group %d%s%s: the words say what the grid says", awq ? "AWQ" : "GPTQ", bits, (int)out, (int)in, (int)group,
       sym ? ", symmetric" : "", less_one ? ", zeros less one" : "");
    free(codes);
    free(zeros);
    grid_release(&g);
    free(w);
    free(got);
}

static void nearest(void)
{
    struct grid g, h;
    float w[3 * 70];
    struct rng r = {.seed = 5};
    for (int i = 0; i < 210; i++)
        w[i] = rng_normal(&r, (uint64_t)i);
    grid_init(&g, 3, 70, 32, 4);
    grid_init(&h, 3, 70, 32, 4);
    is_int(g.groups, 3, "the last group may be short");
    grid_round_to_nearest(&g, w, true);
    bool same = true, close = true;
    for (int o = 0; o < 3; o++)
        for (int i = 0; i < 70; i++) {
            if (i % 32 == 0)
                grid_fit(&h, i / 32, o, w + o * 70 + i, i < 64 ? 32 : 6, 1, true);
            uint8_t code = grid_round(&h, i / 32, o, w[o * 70 + i]);
            same &= code == g.codes[o * 70 + i];
            close &= fabsf(grid_value(&g, i / 32, o, code) - w[o * 70 + i]) <= g.scales[i / 32 * 3 + o] * 0.5001f ||
                     (code == 15 && w[o * 70 + i] > 0); /* the largest magnitude lies half a step above the top */
        }
    ok(same, "rounding to nearest is a fit and a rounding of each element");
    ok(close, "within half a step");
    uint8_t codes[210];
    memcpy(codes, g.codes, sizeof codes);
    threads_set(4);
    grid_round_to_nearest(&g, w, true);
    ok(!memcmp(codes, g.codes, sizeof codes), "for any number of threads");
    grid_release(&g);
    grid_release(&h);
}

int main(void)
{
    worked_words();
    fits();
    nearest();
    read_back(4, false, 24, 40, 16, true, true);
    read_back(4, false, 72, 200, 64, false, false);
    read_back(2, false, 16, 48, 0, true, true);
    read_back(3, false, 96, 64, 32, true, true);
    read_back(3, false, 32, 96, 40, false, false);
    read_back(8, false, 12, 20, 8, true, true);
    read_back(8, false, 12, 20, 8, false, false);
    read_back(4, true, 24, 40, 8, false, false);
    return tap_end();
}
