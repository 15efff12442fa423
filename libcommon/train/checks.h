/* Does a token file suit a model? */
#ifndef TRAIN_CHECKS_H
#define TRAIN_CHECKS_H

#include "format/token_file.h"
#include "model/model.h"

/* dir: the model's folder. The same tokenizer made the ids, there is a sample, every id is below the model's vocabulary, every
 * sample trains something. (Lengths are checked by plan_make.) */
int check_tokens(const struct model *m, const char *dir, const struct token_file *t, struct err *e) MUST_CHECK;

#endif
