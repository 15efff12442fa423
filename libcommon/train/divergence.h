/* How far apart two models' predictions are over a token file: Kullback-Leibler divergence at every trained token.
 *     KL(reference || model) = sum over v of p(v) (log p(v) - log q(v)),  p of the reference, q of the model, in nats
 * Both models compute the same rows; their scores are compared a few rows at a time and never kept. */
#ifndef TRAIN_DIVERGENCE_H
#define TRAIN_DIVERGENCE_H

#include "train/batches.h"

struct divergence {
    double mean, max;
    double error;      /* standard error of the mean, of tokens taken as independent: sqrt((mean of squares - mean^2) / (rows - 1)) */
    double squares;    /* sum of them */
    int64_t agree;     /* tokens where both find the same token the most likely one, of equal ones the first */
    int64_t rows;      /* trained tokens compared */
    int64_t bad, bad_reference; /* of them, those where the scores of the model, or of the reference, are not finite */
};

/* Bytes that divergence_add holds, beside the decoders, for packs of at most `rows` rows. */
int64_t divergence_memory(int64_t rows, int64_t vocab);

/* One pack; adds to sum, squares, agree and rows, raises max. d and reference hold models of one vocabulary. */
int divergence_add(struct decoder *d, struct decoder *reference, const struct pack *p, int64_t vocab, double *sum, struct divergence *r,
                   struct err *e) MUST_CHECK;

#endif
