/* The CPU backend from the outside: its table, with the features that FINETOOLS_CPU leaves (base/cpu.h); there is one, never freed. */
#ifndef KERNELS_CPU_OPEN_H
#define KERNELS_CPU_OPEN_H

#include "kernels/kernels.h"

const struct kernels *cpu_open(struct err *e);

#endif
