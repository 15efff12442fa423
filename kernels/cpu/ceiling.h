/* Measures what the machine can do at most, for shares of it in the benchmark and for the plan's estimate of time.
 * burst(rounds) runs independent multiply-adds, flops_per_round of them a round (a multiply-add counts as 2). */
#ifndef KERNELS_CPU_CEILING_H
#define KERNELS_CPU_CEILING_H

#include "kernels/kernels.h"

void ceiling_measure(struct kernels_ceiling *c, void (*burst)(int64_t rounds), double flops_per_round);

/* The rate of a burst alone, per second. */
double ceiling_flops(void (*burst)(int64_t rounds), double flops_per_round);

#endif
