/* The shape of AVX-512 in plain C: linked by tests only. */
#define ISA(name) name##_wide
#include "kernels/cpu/vec_wide.h"

#include "kernels/cpu/level_tmpl.h"
