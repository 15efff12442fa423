/* Vectors of 16 pairs of bf16, the first of a pair in the lower half of its lane, by AVX-512 BF16. Included after vec_avx512.h. */
#ifndef KERNELS_CPU_PAIRS_AVX512_H
#define KERNELS_CPU_PAIRS_AVX512_H

/* Lane i: first[i] and second[i], rounded. */
VEC vf v_pairs(vf first, vf second)
{
    const __m512i turns = _mm512_setr_epi32(0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007,
                                            0x180008, 0x190009, 0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(turns, (__m512i)_mm512_cvtne2ps_pbh(second, first)));
}

/* 32 elements side by side. */
VEC vf v_pairs_in_row(vf lower, vf upper) { return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(upper, lower)); }

/* sum + second of a * second of b + first of a * first of b, each step rounded. */
VEC vf v_dot_pairs(vf sum, vf a, vf b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
}

#endif
