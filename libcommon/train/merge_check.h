/* Does a merged model predict what its base with the adapters beside it predicts?
 *
 * Both run in f32 on k over a token file; the answer is the Kullback-Leibler divergence of the merged model from the other at
 * every trained token (train/divergence.h). What is left of it is the rounding of the merged weights to their stored type. */
#ifndef TRAIN_MERGE_CHECK_H
#define TRAIN_MERGE_CHECK_H

#include "model/merge.h"
#include "train/divergence.h"

/* The memory of k that merge_check takes, for a result of `merged_bytes` of tensors. */
int merge_check_memory(const struct merge_options *o, const struct kernels *k, int64_t merged_bytes, const struct token_file *t, int64_t *bytes, struct err *e) MUST_CHECK;

/* merged: the folder that merge_write made of `o`. */
int merge_check(const struct merge_options *o, const struct kernels *k, const char *merged, const struct token_file *t, struct divergence *r, struct err *e) MUST_CHECK;

#endif
