/* Working memory of the kernels: one aligned block per thread and use, grown to the largest need, kept until the thread ends.
 * A pointer is valid until the same thread asks for the same use again. Contents are undefined. */
#ifndef KERNELS_CPU_SCRATCH_H
#define KERNELS_CPU_SCRATCH_H

#include <stddef.h>

enum scratch_use {
    SCRATCH_OWN,    /* for the asking thread alone */
    SCRATCH_SHARED, /* asked for before a parallel region, seen by its whole team */
    SCRATCH_PAIRS,  /* likewise: packed factors of bf16 */
    SCRATCH_TEAM,   /* team.c */
    SCRATCH_USES,
};

float *scratch_get(enum scratch_use use, size_t floats);

#endif
