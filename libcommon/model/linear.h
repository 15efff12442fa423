/* One linear module with its LoRA terms, forward and backward; shared by the decoder, its output layer and generation.
 *
 *     y = x W^T + bias + sum over pairs: scale * B (A dropout(x))
 *
 * A module that is to_grid multiplies by the nearest weight to W + sum of scale B A that W's layout can hold, instead. Its gradients are those of
 * the sum, as if Q changed nothing (straight through; Bengio et al. 2013, arXiv 1308.3432), with Q(...) in dx.
 *
 * `low` of a module holds A dropout(x) of its trained pairs, one (N, R) block after another; the forward pass writes it
 * for the backward pass. Nothing here fails; all memory is the caller's, on the device. */
#ifndef MODEL_LINEAR_H
#define MODEL_LINEAR_H

#include "model/model.h"

struct linear_pass {
    const struct kernels *k;
    bool bf16;             /* products of factors rounded to bf16 */
    bool dropout;          /* training: trained pairs drop inputs */
    uint64_t seed;
    int64_t step, row0;    /* with the row's index in the step they key the draws */
    const int64_t *cuts;   /* host: bounds of the samples among the rows (n_cuts + 1). Gradients of parameters are summed by sample, so */
    int n_cuts;            /* that they are the same bits however a step is cut into batches of whole samples. Backward only */
    const int32_t *rows;   /* host: index of each row within the batch; NULL: 0, 1, 2 ... */
    float *drop;           /* (N, in) scratch, when a pair has dropout */
    float *low;            /* (N, R) scratch, when there are pairs: R of all modules of a call */
    float *grid;           /* (out, in) scratch, when modules are to_grid: of the largest */
};

int linear_rank(const struct linear *l);          /* sum of the ranks of all pairs */
int linear_kept_rank(const struct linear *l);     /* of the trained ones: floats a row of `low` */
bool linear_trains(const struct linear *l);       /* any gradient wanted: weight, bias or pair */
bool linear_needs_input(const struct linear *l);  /* backward reads x */
bool linear_drops(const struct linear *l);        /* a trained pair has dropout */
int64_t linear_grid_size(const struct linear *l); /* floats of `grid` */

/* y (N, out). low NULL: nothing is kept for backward. */
void linear_forward(const struct linear_pass *p, const struct linear *l, float *y, const float *x, float *low, int64_t n);
/* The same for up to LINEAR_EACH_MAX modules with one input. */
struct linear_to { const struct linear *l; float *y, *low; };
#define LINEAR_EACH_MAX 3
void linear_forward_each(const struct linear_pass *p, const struct linear_to *to, int count, const float *x, int64_t n);
/* Only the kept `low`, without y. */
void linear_forward_low(const struct linear_pass *p, const struct linear *l, const float *x, float *low, int64_t n);
/* Gradients of what is trained in modules with one input, then dx (N, in) = their sum; dx NULL: not wanted. dx may be x. x may be NULL
 * unless linear_needs_input. */
struct linear_from { const struct linear *l; const float *dy, *low; };
void linear_backward_each(const struct linear_pass *p, const struct linear_from *from, int count, float *dx, const float *x, int64_t n);
void linear_backward(const struct linear_pass *p, const struct linear *l, float *dx, const float *dy, const float *x, const float *low, int64_t n);

#endif
