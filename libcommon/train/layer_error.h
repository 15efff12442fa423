/* How far each layer of a model is from that of another, over a token file. At every trained token, for the hidden state h' of the one and h of
 * the other behind layer l (what the layer adds included, before the final norm):
 *     |h' - h|^2 / |h|^2,  and of these the mean over the tokens
 * (A mean of ratios: the hidden state of a text's first token is often so large that it would be all there is in a ratio of sums.)
 * Both models compute the same rows, layer by layer, and hold the rows of one pack. */
#ifndef TRAIN_LAYER_ERROR_H
#define TRAIN_LAYER_ERROR_H

#include "train/batches.h"

struct layer_error {
    int layers;
    double *sum;      /* (layers) */
    int64_t rows;     /* the mean of layer l is sum[l] / rows */
    float *one, *two; /* rows of both models on the host */
    double *ratio;
};

int layer_error_check(const struct model *m, const struct model *reference, struct err *e) MUST_CHECK; /* as many layers, as wide */
void layer_error_init(struct layer_error *r, const struct model *m, int64_t rows);                      /* for packs of at most so many rows */
void layer_error_release(struct layer_error *r);
int layer_error_add(struct layer_error *r, struct decoder *d, struct decoder *reference, const struct model *m, const struct pack *p, struct err *e) MUST_CHECK;

#endif
