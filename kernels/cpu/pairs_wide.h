/* The operations of pairs_avx512.h in plain C, step by step as Intel specifies them (Software Developer's Manual, vol. 2,
 * VCVTNE2PS2BF16 and VDPBF16PS): subnormal numbers count as zero, and results that are subnormal become zero. Included after
 * vec_wide.h. */
#ifndef KERNELS_CPU_PAIRS_WIDE_H
#define KERNELS_CPU_PAIRS_WIDE_H

#include <float.h>

VEC float flush(float a) { return fabsf(a) < FLT_MIN ? copysignf(0, a) : a; }

VEC float pair_of(float first, float second)
{
    uint32_t u = f32_to_bf16(flush(first)) | (uint32_t)f32_to_bf16(flush(second)) << 16;
    float r;
    memcpy(&r, &u, 4);
    return r;
}
VEC vf v_pairs(vf first, vf second) { EACH(r, pair_of(first.f[i], second.f[i])); }

VEC vf v_pairs_in_row(vf lower, vf upper)
{
    vf even, odd;
    v_unzip(lower, upper, &even, &odd);
    return v_pairs(even, odd);
}

/* sum + a * b of one half of the pairs: 0 the first, 1 the second. */
VEC float pair_product(float sum, float a, float b, int half)
{
    return flush(fmaf(flush(bf16_to_f32(v_half(&a, half))), flush(bf16_to_f32(v_half(&b, half))), flush(sum)));
}
VEC vf v_dot_pairs(vf sum, vf a, vf b)
{
    EACH(r, pair_product(pair_product(sum.f[i], a.f[i], b.f[i], 1), a.f[i], b.f[i], 0));
}

#endif
