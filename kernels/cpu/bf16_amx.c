/* Products of bf16 by AMX: Sapphire Rapids and later. */
#ifdef __x86_64__
#define ISA(name) name##_bf16_amx
#define CELLS "kernels/cpu/cells_amx_tmpl.h"
#include "kernels/cpu/vec_avx512.h"

#include "kernels/cpu/pairs_avx512.h"

#include "kernels/cpu/bf16_tmpl.h"
#endif
