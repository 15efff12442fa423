/* Methods that calibrate, by their number. */
#include "quantize/method.h"

static const struct quantize_solver *const solvers[QUANTIZE_AWQ + 1] = {[QUANTIZE_GPTQ] = &quantize_gptq, [QUANTIZE_AWQ] = &quantize_awq};

const struct quantize_solver *quantize_find_solver(enum quantize_method m)
{
    return solvers[m];
}
