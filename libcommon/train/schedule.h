/* Learning-rate schedules: lr of update u = base * lambda(u - 1), with the factors of transformers' optimization.py
 * (get_linear_schedule_with_warmup, get_cosine_schedule_with_warmup, get_constant_schedule_with_warmup).
 *
 * W warm-up steps, T steps in all, s = u - 1:
 *   s < W     s / max(1, W)                     so the first update of a warmed-up run has lr 0
 *   constant  1
 *   linear    max(0, (T - s) / max(1, T - W))
 *   cosine    max(0, (1 + cos(pi * x)) / 2),    x = (s - W) / max(1, T - W)
 */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include <stdint.h>

#include "base/err.h"

enum schedule_type { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_CONSTANT };

struct schedule {
    enum schedule_type type;
    double base;
    int64_t warmup, total; /* steps */
};

/* warmup: a number of steps, or below 1 a share of `total` (rounded up, product in double, as transformers does). */
int schedule_init(struct schedule *s, const char *type, double base, double warmup, int64_t total, struct err *e) MUST_CHECK;
double schedule_lr(const struct schedule *s, int64_t update); /* update: from 1 */

#endif
