/* Can this model be computed with, and does a token file suit it? */
#ifndef TRAIN_CHECKS_H
#define TRAIN_CHECKS_H

#include "format/token_file.h"
#include "model/model.h"

/* dir: the model's folder. The same tokenizer made the ids, there is a sample, every id is below the model's vocabulary, every
 * sample trains something. (Lengths are checked by plan_make.) */
int check_tokens(const struct model *m, const char *dir, const struct token_file *t, struct err *e) MUST_CHECK;

/* Every stored weight is a finite number. Reads them all, which the first step does anyway; a requested stop ends that early. */
int check_weights(const struct model *m, struct err *e) MUST_CHECK;

#endif
