/* Products of bf16 by AVX-512 BF16: Cooper Lake, Zen 4 and later. */
#ifdef __x86_64__
#define ISA(name) name##_bf16_avx512
#define CELLS "kernels/cpu/cells_dot_tmpl.h"
#include "kernels/cpu/vec_avx512.h"

#include "kernels/cpu/pairs_avx512.h"

#include "kernels/cpu/bf16_tmpl.h"
#endif
