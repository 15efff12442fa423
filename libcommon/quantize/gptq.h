/* GPTQ: the columns of W rounded one after the other, each one's error made good by those that follow.
 *
 *     struct gptq_factor f;
 *     if (gptq_factor_init(&f, h, n, &options, e)) ...     H of the inputs, once for all linears that share them
 *     gptq_solve(&g, w, &f, k, &options, &result)          for each; g from grid_init()
 *     gptq_factor_release(&f)
 *
 * Frantar et al. 2022, "GPTQ" (arXiv 2210.17323), Algorithm 1, as quant-formats.md 3.1 has it from AutoGPTQ:
 *   U upper triangular with (H + damp * mean(diag H) * I)^-1 = U^T U; for column c in order: q = round(w_c), err = (w_c - q) / U_cc,
 *   w_j -= err * U_cj for j > c. Blocks of at most 128 columns; what follows a block gets the block's corrections in one product.
 * A group's scale and zero are those of its weights as they stand when its first column is reached, with all corrections of the
 * columns before it: a block never ends within a group that began inside it. (AutoGPTQ looks at weights without the corrections of the
 * same block; with groups of 128 and more there is no difference.)
 * Columns that no input reached (H_cc = 0) get weight 0. */
#ifndef QUANTIZE_GPTQ_H
#define QUANTIZE_GPTQ_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"
#include "quantize/grid.h"

/* In which order columns are rounded. */
enum gptq_order {
    GPTQ_AS_STORED,
    GPTQ_BY_DIAGONAL, /* descending diagonal of H ("act-order", "desc_act"): groups are of neighbours in that order, g_idx says which */
    GPTQ_IN_GROUPS,   /* groups as stored; they by their mean diagonal, and the columns within each by theirs, descending: the same
                         files as GPTQ_AS_STORED, with less error */
};

struct gptq_options {
    int64_t group;        /* as the grid's; 0: one group */
    bool sym;
    enum gptq_order order;
    bool static_groups;   /* scales and zeros of the uncorrected weights, of groups as stored, in any order */
    double damp;          /* at first; raised by GPTQ_DAMP_STEP as long as there is no factor, up to 1 */
};

#define GPTQ_DAMP_STEP 0.01

struct gptq_factor {
    int64_t n;
    double *u;            /* (n, n) on and above the diagonal U, below it H; both in the order of rounding. Owned */
    double *diagonal;     /* (n) of H */
    int32_t *column;      /* (n) the column that is rounded c-th */
    int32_t *group;       /* (n) the group of that */
    bool *first;          /* (n) the first of its group */
    double damp;          /* the share that was needed */
};

/* What a solution costs: |X (W - Q)^T|^2 and |X W^T|^2, and the same without X. */
struct gptq_result {
    double error, energy, weight_error, weight_energy;
};

/* h (n, n) symmetric, from malloc; taken over in any case. -1: it holds what is not finite, or there is no factor with any damping. */
int gptq_factor_init(struct gptq_factor *f, double *h, int64_t n, const struct gptq_options *o, struct err *e) MUST_CHECK;
void gptq_factor_release(struct gptq_factor *f);

/* Fills g. w (out, n), device memory: becomes the grid's values. Threads: over outputs. */
void gptq_solve(struct grid *g, float *w, const struct gptq_factor *f, const struct kernels *k, const struct gptq_options *o,
                struct gptq_result *r);
int64_t gptq_solve_bytes(int64_t out, int64_t n); /* what gptq_solve takes for the time */

#endif
