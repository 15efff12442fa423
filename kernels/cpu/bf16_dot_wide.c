/* The code of bf16_avx512.c with its instructions in plain C: linked by tests only. */
#define ISA(name) name##_bf16_dot_wide
#define CELLS "kernels/cpu/cells_dot_tmpl.h"
#include "kernels/cpu/vec_wide.h"

#include "kernels/cpu/pairs_wide.h"

#include "kernels/cpu/bf16_tmpl.h"
