/* The loss over a whole token file: the mean over all trained tokens (not over samples or packs). */
#ifndef TRAIN_EVALUATE_H
#define TRAIN_EVALUATE_H

#include "train/batches.h"

struct evaluation {
    double loss;      /* mean; 0 when nothing is trained */
    int64_t trained;  /* tokens that bear loss */
};

/* 0 done, 1 when the decoder was asked to stop, -1 error. progress (may be NULL) is told the samples done. */
int evaluate(struct decoder *d, struct pack *p, const struct token_file *t, void (*progress)(int64_t done), struct evaluation *r,
             struct err *e) MUST_CHECK;

#endif
