/* Training the weights themselves: f32 masters of chosen tensors, and the model folder they are saved to.
 *
 *     w = weights_train_select(model, dir, "regex")  chosen tensors become model->params; sizes only
 *     [optimizer_layout gives every param its value and gradient]
 *     weights_train_start(w)                    copies the values and points the model's views at them
 *     weights_train_save(w, dir, ...)           a model folder in the stored types, sharded in shards of at most 5 GB
 *     weights_train_detach(w)                   before model_close
 *
 * The stored type of every tensor is kept: masters are rounded once, to nearest even. A tied output layer is the embedding's
 * tensor and is trained as one. */
#ifndef MODEL_WEIGHTS_TRAIN_H
#define MODEL_WEIGHTS_TRAIN_H

#include "model/model.h"

struct weights_train;

/* source: the folder whose config.json and tokenizer files go with the weights. regex: matches anywhere in a tensor's name
 * (PCRE2); NULL: every tensor. No match is an error. */
struct weights_train *weights_train_select(struct model *m, const char *source, const char *regex, struct err *e) MUST_CHECK;
void weights_train_start(struct weights_train *w);
/* After start, for a model without a folder (model_new): matrices N(0, initializer_range), norms 1, biases 0. */
void weights_train_draw(struct weights_train *w, uint64_t seed);
int weights_train_save(const struct weights_train *w, const char *dir, const char *provenance, struct err *e) MUST_CHECK;
void weights_train_detach(struct weights_train *w); /* NULL is fine */

#endif
