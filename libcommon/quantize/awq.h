/* AWQ: inputs that matter are made larger before weights are rounded, by factors that the operation before takes back; then the range of
 * each group is cut down where that lessens the error.
 *
 * Lin et al. 2023, "AWQ: Activation-aware Weight Quantization" (arXiv 2306.00978), as AutoAWQ does it (quant-formats.md 4). What a group of
 * weights becomes: scale = max(max - min, 1e-5) / 15, here rounded to f16 before codes are found; zero = -round(min / scale), code =
 * round(w / scale) + zero, both cut to 0 .. 15. Errors of outputs are computed from second moments H of the inputs, which is the same as
 * computing the outputs for all of them.
 *
 * These are the parts; quantize/solver.h has the whole (solve_awq.c), which says over which tokens it searches. Host memory;
 * threads over outputs, the same bits for any number of them. */
#ifndef QUANTIZE_AWQ_H
#define QUANTIZE_AWQ_H

#include <stdint.h>

#include "quantize/grid.h"

#define AWQ_RATIOS 20   /* r = 0, 1 / 20 ... 19 / 20 */
#define AWQ_SHRINKS 10  /* a group's range times 1, 19 / 20 ... 11 / 20 */

/* mean (in) = the mean over all rows of |w| / (the largest |w| of its group + 1e-6); w[i] (out[i], in), n matrices. group 0: the row. */
void awq_weight_mean(float *mean, const float *const *w, const int64_t *out, int n, int64_t in, int64_t group);

/* s (in) = x_mean^r / (w_mean^(1 - r) + 1e-4), at least 1e-4, over the root of its largest times its smallest; what is not finite: 1. */
void awq_scales(float *s, const float *x_mean, const float *w_mean, int64_t in, double ratio);

/* to (out, in) = what the rounding of w s gives back, over s. s NULL: 1. */
void awq_try(float *to, const float *w, const float *s, int64_t out, int64_t in, int64_t group);

/* Cuts each group of w (out, in), in place, to the range with the least error of its part of the output. h: (in, in) second moments, of
 * which the lower half with the diagonal is read, and of that the groups' own blocks. */
void awq_clip(float *w, const double *h, int64_t out, int64_t in, int64_t group);

/* Fills g, 4 bits, from w, which becomes the grid's values. */
void awq_round(struct grid *g, float *w);

#endif
