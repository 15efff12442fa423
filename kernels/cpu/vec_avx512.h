/* Vectors of 16 floats in AVX-512 registers; the same operations as vec_avx2.h. */
#ifndef KERNELS_CPU_VEC_AVX512_H
#define KERNELS_CPU_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define VL 16
#define TILE_ROWS 14 /* 14 x 2 accumulators, 2 vectors of B; A is broadcast from memory */
#define TILE_VECS 2

typedef __m512 vf;
typedef __m512i vu;

#define VEC static inline __attribute__((always_inline, unused))

VEC vf v_load(const float *p) { return _mm512_loadu_ps(p); }
VEC void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
VEC vf v_set(float a) { return _mm512_set1_ps(a); }
VEC vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
VEC vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
VEC vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
VEC vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
VEC vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
VEC vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
VEC vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
VEC vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
VEC vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
VEC vf v_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VEC vf v_if_less(vf a, vf b, vf yes, vf no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes); }

VEC __mmask16 v_first(int n) { return (__mmask16)(n >= 16 ? 0xffff : (1 << n) - 1); }
VEC vf v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
VEC void v_store_n(float *p, vf a, int n) { _mm512_mask_storeu_ps(p, v_first(n), a); }

VEC vf v_load_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
/* Elements 0, 2, 4 ... and 1, 3, 5 ... of 2 * VL. */
VEC vf v_even_bf16(const void *p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }
VEC vf v_odd_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int)0xffff0000)));
}
VEC vf v_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }

VEC vf v_round_bf16(vf a)
{
    __m512i u = _mm512_castps_si512(a), odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), u, _mm512_set1_epi32(0x400000));
    return _mm512_castsi512_ps(_mm512_and_si512(r, _mm512_set1_epi32((int)0xffff0000)));
}

VEC vf v_shift_exponent(vf a, vf n)
{
    __m512i e = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), e));
}

VEC __m256 v_upper(vf a) { return _mm512_extractf32x8_ps(a, 1); }

VEC float v_sum(vf a)
{
    __m256 o = _mm256_add_ps(_mm512_castps512_ps256(a), v_upper(a));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(o), _mm256_extractf128_ps(o, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

VEC float v_top(vf a)
{
    __m256 o = _mm256_max_ps(_mm512_castps512_ps256(a), v_upper(a));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(o), _mm256_extractf128_ps(o, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

VEC void v_transpose(vf r[VL])
{
    vf a[VL], b[VL];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) {
        b[4 * i] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
        b[4 * i + 2] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
    /* b[4i + j] holds, in its four quarters q, rows 4i .. 4i+3 of column 4q + j */
#pragma GCC unroll 8
    for (int j = 0; j < 4; j++) {
        vf x = _mm512_shuffle_f32x4(b[j], b[4 + j], 0x88), y = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0x88);
        vf z = _mm512_shuffle_f32x4(b[j], b[4 + j], 0xdd), w = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0xdd);
        r[j] = _mm512_shuffle_f32x4(x, y, 0x88);
        r[8 + j] = _mm512_shuffle_f32x4(x, y, 0xdd);
        r[4 + j] = _mm512_shuffle_f32x4(z, w, 0x88);
        r[12 + j] = _mm512_shuffle_f32x4(z, w, 0xdd);
    }
}

VEC void v_unzip(vf lo, vf hi, vf *even, vf *odd)
{
    __m512i e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(lo, e, hi);
    *odd = _mm512_permutex2var_ps(lo, _mm512_add_epi32(e, _mm512_set1_epi32(1)), hi);
}

VEC vu v_u64_set(uint64_t a) { return _mm512_set1_epi64((long long)a); }
VEC vu v_u64_count(uint64_t a) { return _mm512_add_epi64(v_u64_set(a), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)); }
VEC vu v_u64_mul32(vu a, vu b) { return _mm512_mul_epu32(a, b); }
VEC vu v_u64_high(vu a) { return _mm512_srli_epi64(a, 32); }
VEC vu v_u64_xor(vu a, vu b) { return _mm512_xor_si512(a, b); }
VEC void v_u64_store(uint64_t *p, vu a) { _mm512_storeu_si512(p, a); }

typedef __m512i vi;

VEC vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
VEC vi vi_set(uint32_t a) { return _mm512_set1_epi32((int)a); }
VEC vi vi_words(const void *p)
{
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1), _mm512_castsi128_si512(_mm_loadl_epi64(p)));
}
VEC vi vi_bytes(const void *p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(p)); }
VEC vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
VEC vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
VEC vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
VEC vi vi_shift_up(vi a, int n) { return _mm512_sll_epi32(a, _mm_cvtsi32_si128(n)); }
VEC vi vi_shift_down(vi a, int n) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n)); }
VEC vi vi_shift_each(vi a, vi n) { return _mm512_srlv_epi32(a, n); }
VEC vi vi_if_less(vf a, vf b, vi yes) { return _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), yes); }
VEC vi vi_of_bits(vf a) { return _mm512_castps_si512(a); }
VEC vi vi_nearest(vf a) { return _mm512_cvtps_epi32(a); }
VEC vf v_of_int(vi a) { return _mm512_cvtepi32_ps(a); }
VEC vf v_lookup(const vf table[16 / VL], vi index) { return _mm512_permutexvar_ps(index, table[0]); }
VEC vf v_round_f16(vf a) { return _mm512_cvtph_ps(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
VEC void v_store_f16(void *p, vf a) { _mm256_storeu_si256(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }
VEC void v_store_bf16(void *p, vf a) { _mm256_storeu_si256(p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(a), 16))); }
VEC void vi_store_bytes(void *p, vi a) { _mm_storeu_si128(p, _mm512_cvtepi32_epi8(a)); }
VEC void vi_store_nibbles(void *p, vi a)
{
    _mm_storel_epi64(p, _mm512_cvtepi64_epi8(_mm512_or_si512(_mm512_slli_epi64(a, 4), _mm512_srli_epi64(a, 32))));
}

#endif
