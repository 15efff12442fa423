/* The parts of a struct row_sum over n rows. */
#ifndef KERNELS_CPU_ROW_SUM_H
#define KERNELS_CPU_ROW_SUM_H

#include "kernels/kernels.h"

static inline int64_t row_parts(const struct row_sum *s)
{
    return s->cuts ? s->n_cuts : 1;
}

static inline int64_t row_part_end(const struct row_sum *s, int64_t part, int64_t n)
{
    return s->cuts ? s->cuts[part + 1] * s->times : n;
}

#endif
