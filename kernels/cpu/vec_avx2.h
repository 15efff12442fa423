/* Vectors of 8 floats in AVX2 registers. vec_avx512.h and vec_wide.h define the
 * same set. The template files (*_tmpl.h) are written in these operations only. */
#ifndef KERNELS_CPU_VEC_AVX2_H
#define KERNELS_CPU_VEC_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VL 8
#define TILE_ROWS 6 /* 6 x 2 accumulators, 2 vectors of B, 1 of A: 15 of 16 registers */
#define TILE_VECS 2

typedef __m256 vf;
typedef __m256i vu; /* VL / 2 lanes of 64 bits */

#define VEC static inline __attribute__((always_inline, unused))

VEC vf v_load(const float *p) { return _mm256_loadu_ps(p); }
VEC void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
VEC vf v_set(float a) { return _mm256_set1_ps(a); }
VEC vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
VEC vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
VEC vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
VEC vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
VEC vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
VEC vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
VEC vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
VEC vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
VEC vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
VEC vf v_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VEC vf v_if_less(vf a, vf b, vf yes, vf no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }

VEC __m256i v_first(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
VEC vf v_load_n(const float *p, int n) { return n >= VL ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, v_first(n)); }
VEC void v_store_n(float *p, vf a, int n) /* masked stores are slow */
{
    if (n >= VL)
        _mm256_storeu_ps(p, a);
    else
        _mm256_maskstore_ps(p, v_first(n), a);
}

VEC vf v_load_bf16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
/* Elements 0, 2, 4 ... and 1, 3, 5 ... of 2 * VL. */
VEC vf v_even_bf16(const void *p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(p), 16)); }
VEC vf v_odd_bf16(const void *p)
{
    static const uint32_t high[VL] __attribute__((aligned(32))) = {0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000,
                                                                   0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000};
    __m256i a = _mm256_loadu_si256(p);
    /* Compilers would rather hold the mask in a register, and there is none left beside the sums of few_tmpl.h. */
    __asm__("vpand %1, %0, %0" : "+x"(a) : "m"(high));
    return _mm256_castsi256_ps(a);
}
VEC vf v_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }

VEC vf v_round_bf16(vf a)
{
    __m256i u = _mm256_castps_si256(a), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    r = _mm256_blendv_epi8(r, _mm256_or_si256(u, _mm256_set1_epi32(0x400000)), nan);
    return _mm256_castsi256_ps(_mm256_and_si256(r, _mm256_set1_epi32((int)0xffff0000)));
}

VEC vf v_shift_exponent(vf a, vf n)
{
    __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), e));
}

VEC float v_sum(vf a)
{
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

VEC float v_top(vf a)
{
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

/* r[i] lane j <-> r[j] lane i */
VEC void v_transpose(vf r[VL])
{
    vf a[VL], b[VL];
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
        b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

/* a0 b0 a1 b1 ... and back */
VEC void v_unzip(vf lo, vf hi, vf *even, vf *odd)
{
    vf a = _mm256_permute2f128_ps(lo, hi, 0x20), b = _mm256_permute2f128_ps(lo, hi, 0x31);
    *even = _mm256_shuffle_ps(a, b, 0x88);
    *odd = _mm256_shuffle_ps(a, b, 0xdd);
}

/* 64-bit lanes, for Philox */
VEC vu v_u64_set(uint64_t a) { return _mm256_set1_epi64x((long long)a); }
VEC vu v_u64_count(uint64_t a) { return _mm256_add_epi64(v_u64_set(a), _mm256_setr_epi64x(0, 1, 2, 3)); }
VEC vu v_u64_mul32(vu a, vu b) { return _mm256_mul_epu32(a, b); }
VEC vu v_u64_high(vu a) { return _mm256_srli_epi64(a, 32); }
VEC vu v_u64_xor(vu a, vu b) { return _mm256_xor_si256(a, b); }
VEC void v_u64_store(uint64_t *p, vu a) { _mm256_storeu_si256((__m256i *)p, a); }

/* VL lanes of 32 bits, for codes */
typedef __m256i vi;

VEC vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
VEC vi vi_set(uint32_t a) { return _mm256_set1_epi32((int)a); }
VEC vi vi_words(const void *p) /* VL / 8 words (VL < 8: one), each in the lanes of eight elements */
{
    int word;
    memcpy(&word, p, 4);
    return _mm256_set1_epi32(word);
}
VEC vi vi_bytes(const void *p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(p)); } /* VL signed bytes */
VEC vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
VEC vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
VEC vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
VEC vi vi_shift_up(vi a, int n) { return _mm256_slli_epi32(a, n); }
VEC vi vi_shift_down(vi a, int n) { return _mm256_srli_epi32(a, n); }
VEC vi vi_shift_each(vi a, vi n) { return _mm256_srlv_epi32(a, n); } /* down */
VEC vi vi_if_less(vf a, vf b, vi yes) { return _mm256_and_si256(_mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ)), yes); } /* else 0 */
VEC vi vi_of_bits(vf a) { return _mm256_castps_si256(a); }
VEC vi vi_nearest(vf a) { return _mm256_cvtps_epi32(a); }
VEC vf v_of_int(vi a) { return _mm256_cvtepi32_ps(a); }

/* Element (index of a lane) mod 16 of a table */
VEC vf v_lookup(const vf table[16 / VL], vi index)
{
    vf lower = _mm256_permutevar8x32_ps(table[0], index), upper = _mm256_permutevar8x32_ps(table[1], index);
    return _mm256_blendv_ps(lower, upper, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}

VEC vf v_round_f16(vf a) { return _mm256_cvtph_ps(_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
VEC void v_store_f16(void *p, vf a) { _mm_storeu_si128(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
VEC void v_store_bf16(void *p, vf a) /* of numbers that are exact in bf16 */
{
    __m256i u = _mm256_srli_epi32(_mm256_castps_si256(a), 16);
    _mm_storeu_si128(p, _mm_packus_epi32(_mm256_castsi256_si128(u), _mm256_extracti128_si256(u, 1)));
}
VEC void vi_store_bytes(void *p, vi a) /* of -128 .. 127 */
{
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64(p, _mm_packs_epi16(h, h));
}
VEC void vi_store_nibbles(void *p, vi a) /* of 0 .. 15, the even lanes' above */
{
    __m256i both = _mm256_or_si256(_mm256_slli_epi64(a, 4), _mm256_srli_epi64(a, 32));
    __m256i low = _mm256_shuffle_epi8(both, _mm256_set1_epi16(0x0800));
    uint32_t word = (uint32_t)_mm_extract_epi16(_mm256_castsi256_si128(low), 0) | (uint32_t)_mm_extract_epi16(_mm256_extracti128_si256(low, 1), 0) << 16;
    memcpy(p, &word, 4);
}

#include "kernels/cpu/codes_avx2.h"

#endif
