/* What --plan prints, on stdout. */
#ifndef TRAIN_PLAN_PRINT_H
#define TRAIN_PLAN_PRINT_H

#include "train/session.h"

void plan_print(const struct session *s, int64_t memory, bool complete);

#endif
