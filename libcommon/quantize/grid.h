/* A weight matrix on a grid of integers, in groups of inputs, before it is packed into words: what rounding to nearest (rtn), GPTQ and
 * AWQ make, and what both layouts of words are packed from.
 *
 *     value(o, i) = scales[g][o] * (codes[o][i] - zeros[g][o]),  g = g_idx[i]
 *
 * Parameters of a group (AutoGPTQ quantizer.py find_params; AWQ has its own, see awq.h): min and max of the group and 0; sym: both become
 * the larger magnitude; scale = (max - min) / (2^bits - 1), zero = 2^(bits - 1) or round(-min / scale); a group of zeros has -1 and 1. The
 * scale is rounded to f16 before codes are found, so that what is stored is what was meant. All rounding is to nearest, ties to even. */
#ifndef QUANTIZE_GRID_H
#define QUANTIZE_GRID_H

#include <stdbool.h>
#include <stdint.h>

struct grid {
    int64_t out, in, group, groups; /* group: inputs; groups = ceil(in / group) */
    int bits;                       /* 2, 3, 4, 8 */
    uint8_t *codes;                 /* (out, in) */
    float *scales;                  /* (groups, out), exact in f16 */
    uint8_t *zeros;                 /* (groups, out) */
    int32_t *g_idx;                 /* (in) */
};

void grid_init(struct grid *g, int64_t out, int64_t in, int64_t group, int bits); /* group 0: in. g_idx[i] = i / group */
void grid_release(struct grid *g);

/* Scale and zero of output o in group g from n values, x[0], x[step] ...; n > 0. */
void grid_fit(struct grid *g, int64_t group, int64_t o, const float *x, int64_t n, int64_t step, bool sym);
uint8_t grid_round(const struct grid *g, int64_t group, int64_t o, float x); /* the nearest code */
float grid_value(const struct grid *g, int64_t group, int64_t o, uint8_t code);

/* Each group fitted and each element rounded: the baseline. w (out, in). Threads: over outputs. */
void grid_round_to_nearest(struct grid *g, const float *w, bool sym);

/* Words of the two layouts (base/quantized.h). GPTQ: codes (in * bits / 32, out), zeros (groups, out * bits / 32), less one word by word
 * when `less_one`; out and in are multiples of 32 / gcd(bits, 32). AWQ, 4 bits: codes (in, out / 8), zeros (groups, out / 8). */
void grid_pack_gptq(uint32_t *codes, uint32_t *zeros, const struct grid *g, bool less_one);
void grid_pack_awq(uint32_t *codes, uint32_t *zeros, const struct grid *g);

#endif
