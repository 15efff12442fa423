/* How long a run will take, from its FLOPs and a moment's measurement on the machine as it is. */
#ifndef TRAIN_PLAN_TIME_H
#define TRAIN_PLAN_TIME_H

#include "model/model.h"

/* Multiplications and additions a second that products of this model's shapes reach, its weights read from where they are. About a
 * tenth of a second, for large models a few products. 0: there is no memory to measure in. */
double plan_product_rate(const struct model *m, int64_t rows_at_once);
/* Seconds for `flops` at that rate, for what else is done with `rows` (those of passes without gradients count half), and for updates of
 * so many weights in all; checkpoints come on top. */
double plan_seconds(const struct model *m, double rows, double updates, double flops, double rate);

#endif
