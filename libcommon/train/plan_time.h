/* How long a run will take, from its FLOPs and a moment's measurement on the machine as it is. */
#ifndef TRAIN_PLAN_TIME_H
#define TRAIN_PLAN_TIME_H

#include "train/session.h"

/* Multiplications and additions a second that products of this model's shapes reach, its weights read from where they are. About a
 * tenth of a second, for large models a few products. 0: there is no memory to measure in. */
double plan_product_rate(const struct session *s);
/* Seconds for `flops` at that rate, for what else is done with `rows`, and for the updates of the weights; evaluations and checkpoints
 * come on top. */
double plan_seconds(const struct session *s, double rows, double flops, double rate);

#endif
