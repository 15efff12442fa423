/* Methods that calibrate: GPTQ, AWQ.
 *
 *     s = solver_open(&options, model, k, tokens, stop, &e)
 *     for each layer, in order:  solver_solve(s, &layer, &e); [the run stores it, rounded]; solver_advance(s, &layer, &e)
 *                                or, of a layer that an earlier run has finished, solver_advance alone
 *     solver_close(s)
 *
 * A method gives the functions of struct solver_method; the walk of the samples through the layers (quantize/calibrate.h) is the same for
 * all. Memory: the layer is the caller's; the model, the tokens and the options live until close. The model's matrices stay where they
 * are (mapped); while a layer is worked on the model's own structure points at the weights of struct quantize_layer. */
#ifndef QUANTIZE_SOLVER_H
#define QUANTIZE_SOLVER_H

#include "quantize/calibrate.h"

struct solver_method {
    int64_t tokens;   /* calibrates on as many of the file's samples as have at most so many tokens; 0: on all */
    /* Fills the grid of every module that is not kept, and the numbers for the report. The walk stands before the layer and uses it
     * (calibrate_use). 1: stopped, the layer is not finished. */
    int (*solve)(const struct quantize_options *o, struct model *m, struct calibrate *walk, struct quantize_layer *l, struct err *e) MUST_CHECK;
    int64_t (*memory)(const struct quantize_options *o, const struct model *m); /* of solve, beside the layer and the walk */
    double (*passes)(const struct quantize_options *o, double tokens);          /* of all tokens through the layer */
    double (*flops)(const struct quantize_options *o, const struct layer *l, double tokens); /* beside these, in f32 */
};

extern const struct solver_method solver_gptq, solver_awq;

bool solver_has(enum quantize_method m); /* else the method needs no data */

struct solver;

/* The samples walk on k, all else is of the host. `stop` (may be NULL) is asked now and then; it makes solve and advance return 1. */
struct solver *solver_open(const struct quantize_options *o, struct model *m, const struct kernels *k, const struct token_file *t, int (*stop)(void),
                           struct err *e) MUST_CHECK;
int solver_solve(struct solver *s, struct quantize_layer *l, struct err *e) MUST_CHECK;
/* Makes the inputs of the next layer with this layer's weights, which now are what is stored. Called for layers 0, 1, 2 ... each once; not
 * needed for the last. */
int solver_advance(struct solver *s, const struct quantize_layer *l) MUST_CHECK;
void solver_close(struct solver *s); /* NULL is fine */

/* Memory beside the layer itself (its weights in f32 and grids), for the plan: the host's, and what k has of its own. */
int64_t solver_memory(const struct quantize_options *o, const struct model *m, const struct kernels *k, const struct token_file *t, int64_t *device);

/* Work, about, for the plan: of passes through the layers, over so many rows in all, and what is done in f32 beside them. */
struct solver_work {
    double rows, passes, beside; /* passes, beside: multiplications and additions */
};
void solver_work(struct solver_work *w, const struct quantize_options *o, const struct model *m, const struct token_file *t);

#endif
