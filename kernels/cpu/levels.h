/* The values of NF4 and FP4 in order, for the specification of requantize and for other devices' kernels of it. */
#ifndef KERNELS_CPU_LEVELS_H
#define KERNELS_CPU_LEVELS_H

#include "kernels/cpu/cpu.h"

/* The 16 values in ascending order, the bounds between neighbours, and the code of each. The second of FP4's zeros is the first: equal values
 * have equal codes. */
struct levels {
    float value[16], bound[15];
    uint8_t code[16];
};

static inline struct levels levels_of(enum quantized_kind kind)
{
    const float *values = kind == QUANTIZED_NF4 ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES;
    struct levels l;
    quantize_steps(kind, l.code, l.bound);
    if (kind == QUANTIZED_FP4)
        l.code[8] = l.code[7];
    for (int i = 0; i < 16; i++)
        l.value[i] = values[l.code[i]];
    return l;
}

#endif
