/* The code of bf16_amx.c with its instructions in plain C: linked by tests only. */
#define ISA(name) name##_bf16_amx_wide
#define CELLS "kernels/cpu/cells_amx_tmpl.h"
#include <stdbool.h>

#include "kernels/cpu/vec_wide.h"

#include "kernels/cpu/pairs_wide.h"
#include "kernels/cpu/tiles_plain.h"

#include "kernels/cpu/bf16_tmpl.h"
