/* What --plan prints. */
#ifndef TRAIN_PLAN_TEXT_H
#define TRAIN_PLAN_TEXT_H

#include "base/buf.h"
#include "train/session.h"

/* Appends the plan. Measures the machine for a moment. memory: bytes that may be used, -1 unknown. */
void plan_text(struct buf *b, const struct session *s, int64_t memory, bool complete);

/* The same of a single pass without gradients that writes a file. */
struct plan_pass {
    const char *output;
    int64_t bytes;      /* of the file, at most */
    int64_t samples;
    double rows, flops;
};
void plan_text_pass(struct buf *b, const struct plan *p, const struct model *m, int64_t memory, const struct plan_pass *pass);

#endif
