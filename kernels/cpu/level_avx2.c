/* AVX2, FMA, F16C: Haswell, Zen and later. */
#ifdef __x86_64__
#define ISA(name) name##_avx2
#include "kernels/cpu/vec_avx2.h"

#include "kernels/cpu/level_tmpl.h"
#endif
