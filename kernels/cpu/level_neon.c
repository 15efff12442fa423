/* NEON: every Armv8-A processor. */
#ifdef __aarch64__
#define ISA(name) name##_neon
#include "kernels/cpu/vec_neon.h"

#include "kernels/cpu/level_tmpl.h"
#endif
