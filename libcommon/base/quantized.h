/* A weight matrix (out, in) as a quantized model folder stores it: what the operations need to give any part of it as f32.
 *
 * Formats: bitsandbytes (LLM.int8 and 4 bits), GPTQ, AWQ "gemm"; their bytes are described in quantized-model(5). The pointers
 * are addresses into the mapped file or a copy on the device, at any alignment, little-endian; nothing is converted ahead of use.
 * Who fills the structure has checked every size and index (format/quantized_tensors.h); the operations do not.
 *
 * Value of element (o, i), all arithmetic in f32:
 *   INT8  (codes[o][i] * scales[o]) * 0.007874015718698502f                 codes i8 (out, in), scales F32 (out)
 *   NF4,  code[nibble e] * absmax[e / group], rounded to `value_type`       e = o * in + i; the nibble of an even e is the high one
 *   FP4                                                                     of byte e / 2; absmax: see below
 *   GPTQ  scales[g][o] * (q(o, i) - zero(g, o)), g = g_idx[i] or i / group  q: `bits` wide, along the inputs, from the low end of I32
 *                                                                           words (in * bits / 32, out); zeros along the outputs,
 *                                                                           (groups, out * bits / 32)
 *   AWQ   scales[g][o] * (q(o, i) - zero(g, o)), g = i / group              4 bits along the outputs, words (in, out / 8), output
 *                                                                           8k + (0 2 4 6 1 3 5 7)[j] at bits 4j; zeros (groups, out / 8)
 * absmax of a block of `group` elements: scales[b] (F32), or, nested, map[u8 scales[b]] * nested_scales[b / 256] + nested_offset.
 * Products of 4-bit codes with f16 scales are exact in f32. */
#ifndef BASE_QUANTIZED_H
#define BASE_QUANTIZED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"

enum quantized_kind { QUANTIZED_INT8, QUANTIZED_NF4, QUANTIZED_FP4, QUANTIZED_GPTQ, QUANTIZED_AWQ };

/* How the zeros of GPTQ are stored: as they are (format gptq_v2), or one less, which is given back field by field, or to
 * whole words with carries between their fields. */
enum quantized_zeros { QUANTIZED_ZEROS_PLAIN, QUANTIZED_ZEROS_LESS_ONE, QUANTIZED_ZEROS_WORD_LESS_ONE };

#define QUANTIZED_NESTED_BLOCK 256

struct quantized {
    enum quantized_kind kind;
    int bits;                 /* 8, 4; GPTQ: 2, 3, 4, 8 */
    int64_t out, in;
    int64_t group;            /* NF4, FP4: elements of a block, over the flattened matrix, whose last may be short. GPTQ, AWQ: inputs */
    enum dtype value_type;    /* NF4, FP4: F32, F16 or BF16; else F32 */
    const void *codes;
    const void *scales;
    enum dtype scale_type;    /* F32; NF4, FP4: U8 when nested; GPTQ, AWQ: F16, BF16 or F32 */
    const void *nested_scales, *nested_map; /* F32 */
    float nested_offset;
    const void *zeros;        /* GPTQ, AWQ */
    enum quantized_zeros zeros_stored;
    const void *g_idx;        /* GPTQ: I32 (in), 0 <= g < groups; NULL: i / group */
};

/* The 16 values of NF4 and of FP4 (bitsandbytes, csrc/kernels.cu) by code. */
extern const float QUANTIZED_NF4_VALUES[16], QUANTIZED_FP4_VALUES[16];

#endif
