/* A layer on its way through a method that calibrates: from the stored tensors to struct quantize_layer, and what the solver made of it
 * to the tensors that take the place of the stored ones.
 *
 *     l = layer_load(model, &selection, 3)
 *     solver->solve(state, l, &e)                 or, of a layer that is finished, layer_restore(l, model, &options, file, &e)
 *     layer_store(&x, l, model, &options, k)      encodes; l's values become those that are stored
 *     layer_stored_release(&x); layer_free(l)
 * Memory: the layer's weights in f32, its grids, and the result. */
#ifndef QUANTIZE_LAYER_WORK_H
#define QUANTIZE_LAYER_WORK_H

#include "quantize/encode.h"
#include "quantize/select.h"

enum { LAYER_VECTORS = 4 + LAYER_LINEARS, LAYER_FLOATS = LAYER_VECTORS + LAYER_LINEARS };

struct layer_stored {
    struct encoded modules[LAYER_LINEARS];  /* n 0: kept */
    struct st_tensor floats[LAYER_FLOATS];  /* norms, biases and kept weights that the method changed; names and data owned */
    int n_floats;
};

struct quantize_layer *layer_load(const struct model *m, const struct quantize_selection *s, int index);
void layer_free(struct quantize_layer *l); /* NULL is fine */

/* -1: a value became one that its type cannot hold. */
int layer_store(struct layer_stored *x, struct quantize_layer *l, const struct model *m, const struct quantize_options *o, struct err *e) MUST_CHECK;
void layer_stored_release(struct layer_stored *x);

/* Fills l with what an earlier run stored. -1: the file lacks a tensor, or one has another type or shape. */
int layer_restore(struct quantize_layer *l, const struct model *m, const struct quantize_options *o, const struct st_file *f, struct err *e) MUST_CHECK;

#endif
