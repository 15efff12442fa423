/* AVX-512 F, BW, DQ, VL: Skylake-SP, Zen 4 and later. */
#ifdef __x86_64__
#define ISA(name) name##_avx512
#include "kernels/cpu/vec_avx512.h"

#include "kernels/cpu/level_tmpl.h"
#endif
