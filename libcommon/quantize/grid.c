#include "quantize/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/dtype.h"
#include "base/mem.h"

#define TILE 64 /* outputs that one thread packs together: their words lie side by side */
#define F16_MOST 65504.0f
#define F16_LEAST 0x1p-24f

void grid_init(struct grid *g, int64_t out, int64_t in, int64_t group, int bits)
{
    group = group ? group : in;
    *g = (struct grid){.out = out, .in = in, .group = group, .groups = (in + group - 1) / group, .bits = bits};
    g->codes = mem_zalloc((size_t)out, (size_t)in);
    g->scales = mem_zalloc((size_t)g->groups, (size_t)out * sizeof *g->scales);
    g->zeros = mem_zalloc((size_t)g->groups, (size_t)out);
    g->g_idx = mem_array(NULL, (size_t)in, sizeof *g->g_idx);
    for (int64_t i = 0; i < in; i++)
        g->g_idx[i] = (int32_t)(i / group);
}

void grid_release(struct grid *g)
{
    free(g->codes);
    free(g->scales);
    free(g->zeros);
    free(g->g_idx);
    *g = (struct grid){0};
}

/* To f16, but neither to 0, by which nothing can be divided, nor to infinity. */
static float round_scale(float s)
{
    float r = f16_to_f32(f32_to_f16(s));
    return r < F16_LEAST ? F16_LEAST : r > F16_MOST ? F16_MOST : r;
}

void grid_fit(struct grid *g, int64_t group, int64_t o, const float *x, int64_t n, int64_t step, bool sym)
{
    float low = 0, high = 0, most = (float)((1 << g->bits) - 1);
    for (int64_t i = 0; i < n; i++) {
        float v = x[i * step];
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    if (sym)
        high = high > -low ? high : -low, low = -high;
    if (low == 0 && high == 0)
        low = -1, high = 1;
    float scale = round_scale((high - low) / most);
    float zero = sym ? (float)(1 << (g->bits - 1)) : rintf(-low / scale);
    g->scales[group * g->out + o] = scale;
    g->zeros[group * g->out + o] = (uint8_t)(zero > most ? most : zero);
}

uint8_t grid_round(const struct grid *g, int64_t group, int64_t o, float x)
{
    float most = (float)((1 << g->bits) - 1), q = rintf(x / g->scales[group * g->out + o]) + (float)g->zeros[group * g->out + o];
    return (uint8_t)(q < 0 ? 0 : q > most ? most : q);
}

float grid_value(const struct grid *g, int64_t group, int64_t o, uint8_t code)
{
    return g->scales[group * g->out + o] * (float)((int)code - (int)g->zeros[group * g->out + o]);
}

static void round_row(struct grid *g, int64_t o, const float *w, bool sym)
{
    float most = (float)((1 << g->bits) - 1);
    uint8_t *codes = g->codes + o * g->in;
    for (int64_t k = 0; k < g->groups; k++) {
        int64_t first = k * g->group, end = first + g->group < g->in ? first + g->group : g->in;
        grid_fit(g, k, o, w + first, end - first, 1, sym);
        float scale = g->scales[k * g->out + o], zero = (float)g->zeros[k * g->out + o];
        for (int64_t i = first; i < end; i++) { /* as grid_round() */
            float q = rintf(w[i] / scale) + zero;
            codes[i] = (uint8_t)(q < 0 ? 0 : q > most ? most : q);
        }
    }
}

void grid_round_to_nearest(struct grid *g, const float *w, bool sym)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < g->out; o++)
        round_row(g, o, w + o * g->in, sym);
}

/* The words of outputs o .. o + n - 1: fields run from the low end of a column's words, and on into the next word. */
static void pack_columns(uint32_t *words, const struct grid *g, int64_t o, int64_t n)
{
    uint64_t held[TILE] = {0};
    int filled = 0;
    for (int64_t i = 0; i < g->in; i++) {
        for (int64_t j = 0; j < n; j++)
            held[j] |= (uint64_t)g->codes[(o + j) * g->in + i] << filled;
        filled += g->bits;
        if (filled < 32)
            continue;
        for (int64_t j = 0; j < n; j++) {
            put_le32(words + o + j, (uint32_t)held[j]);
            held[j] >>= 32;
        }
        words += g->out;
        filled -= 32;
    }
}

static void pack_zeros(uint32_t *words, const struct grid *g, int64_t group, bool less_one)
{
    uint32_t most = (1u << g->bits) - 1, ones = less_one && 32 % g->bits == 0 ? 0xffffffffu / most : 0;
    uint64_t held = 0;
    int filled = 0;
    for (int64_t o = 0; o < g->out; o++) {
        uint32_t zero = g->zeros[group * g->out + o];
        if (less_one && !ones)
            zero = (zero - 1) & most;
        held |= (uint64_t)zero << filled;
        filled += g->bits;
        if (filled < 32)
            continue;
        put_le32(words++, (uint32_t)held - ones);
        held >>= 32;
        filled -= 32;
    }
}

void grid_pack_gptq(uint32_t *codes, uint32_t *zeros, const struct grid *g, bool less_one)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < g->out; o += TILE)
        pack_columns(codes, g, o, g->out - o < TILE ? g->out - o : TILE);
    for (int64_t k = 0; k < g->groups; k++)
        pack_zeros(zeros + k * (g->out * g->bits / 32), g, k, less_one);
}

/* Output 8k + ORDER[j] stands at bits 4j. */
static const int ORDER[8] = {0, 2, 4, 6, 1, 3, 5, 7};

void grid_pack_awq(uint32_t *codes, uint32_t *zeros, const struct grid *g)
{
    int64_t words = g->out / 8;
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < words; k++) {
        for (int64_t i = 0; i < g->in; i++) {
            uint32_t word = 0;
            for (int j = 0; j < 8; j++)
                word |= (uint32_t)g->codes[(8 * k + ORDER[j]) * g->in + i] << 4 * j;
            put_le32(codes + i * words + k, word);
        }
        for (int64_t b = 0; b < g->groups; b++) {
            uint32_t word = 0;
            for (int j = 0; j < 8; j++)
                word |= (uint32_t)g->zeros[b * g->out + 8 * k + ORDER[j]] << 4 * j;
            put_le32(zeros + b * words + k, word);
        }
    }
}
