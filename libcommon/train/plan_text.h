/* What --plan prints. */
#ifndef TRAIN_PLAN_TEXT_H
#define TRAIN_PLAN_TEXT_H

#include "base/buf.h"
#include "train/session.h"

/* Appends the plan. Measures the machine for a moment. memory: bytes that may be used, -1 unknown. */
void plan_text(struct buf *b, const struct session *s, int64_t memory, bool complete);

#endif
