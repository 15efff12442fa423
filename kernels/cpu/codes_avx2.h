/* Values of 4-bit codes by byte shuffles, for few_batches_tmpl.h and dequantize_tmpl.h: part of vec_avx2.h.
 *
 * Codes are taken in batches of V_BATCH elements of a block. The values come out in an order of their own: v_batch_order()
 * brings x into the same. As numbers of 16 bits they are stored in order. */
#ifndef KERNELS_CPU_CODES_AVX2_H
#define KERNELS_CPU_CODES_AVX2_H

#include "base/quantized.h"

#define V_BATCH 64

/* Brings the V_BATCH values at x into the order of a batch: lane l of vector 4 k + 2 j + i is element 32 (l / 4) + 16 j + 4 (l % 4) + 2 i + k. */
VEC void v_batch_order(float *x)
{
    vf to[8];
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
        vf r[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float *p = x + 16 * j + 4 * i;
            r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 32), 1);
        }
        vf a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]), c = _mm256_unpacklo_ps(r[2], r[3]), d = _mm256_unpackhi_ps(r[2], r[3]);
        to[2 * j] = _mm256_shuffle_ps(a, c, 0x44), to[2 * j + 4] = _mm256_shuffle_ps(a, c, 0xee);
        to[2 * j + 1] = _mm256_shuffle_ps(b, d, 0x44), to[2 * j + 5] = _mm256_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        v_store(x + i * VL, to[i]);
}

/* Byte k of each of a block's 16 values, twice; of numbers that are exact in bf16 only the upper two. */
typedef struct { __m256i of[4]; } v_bytes;

/* 16 lanes of 16 bits, those of `even` and of `odd` in turn: all lower bytes, then the upper ones. */
VEC __m256i v_part_bytes(__m256i even, __m256i odd)
{
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15));
    return _mm256_shuffle_epi8(_mm256_blend_epi16(even, odd, 0xaa), order);
}

/* Planes k and k + 1 of both tables, from the first values in one half of s and the second ones in the other. */
VEC void v_bytes_set(v_bytes t[2], int k, const __m256i s[2])
{
    __m256i low = _mm256_unpacklo_epi64(s[0], s[1]), high = _mm256_unpackhi_epi64(s[0], s[1]);
    t[0].of[k] = _mm256_permute2x128_si256(low, low, 0x00), t[1].of[k] = _mm256_permute2x128_si256(low, low, 0x11);
    t[0].of[k + 1] = _mm256_permute2x128_si256(high, high, 0x00), t[1].of[k + 1] = _mm256_permute2x128_si256(high, high, 0x11);
}

/* The values times a, and times b. bf16: rounded to it. */
VEC void v_bytes_of(v_bytes t[2], const float values[16], float a, float b, enum dtype type, const bool bf16)
{
    __m256i v[4], s[2];
    vf both = _mm256_blend_ps(_mm256_set1_ps(a), _mm256_set1_ps(b), 0xf0);
    if (bf16) /* the rounding below would carry a NaN of all ones over to 0 */
        both = _mm256_blendv_ps(both, _mm256_set1_ps(__builtin_nanf("")), _mm256_cmp_ps(both, both, _CMP_UNORD_Q));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vf p = _mm256_mul_ps(_mm256_broadcast_ps((const __m128 *)(const void *)(values + 4 * i)), both);
        if (type == DTYPE_F16)
            p = v_round_f16(p);
        v[i] = _mm256_castps_si256(p);
        if (bf16) {
            __m256i odd = _mm256_and_si256(_mm256_srli_epi32(v[i], 16), _mm256_set1_epi32(1));
            v[i] = _mm256_add_epi32(_mm256_add_epi32(v[i], _mm256_set1_epi32(0x7fff)), odd);
        }
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        s[i] = v_part_bytes(_mm256_srli_epi32(v[2 * i], 16), v[2 * i + 1]);
    v_bytes_set(t, 2, s);
    if (bf16)
        return;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        s[i] = v_part_bytes(v[2 * i], _mm256_slli_epi32(v[2 * i + 1], 16));
    v_bytes_set(t, 0, s);
}

/* Tables of values in bf16 for a largest magnitude that is itself exact in bf16: two of those that differ by a power of 4 share all but
 * what is added to the upper bytes. Filled by v_ready_fill(). */
static struct v_ready {
    uint8_t bytes[256][2][16]; /* by the lower byte of the magnitude, its upper one being 0x3f: lower bytes, upper bytes */
    uint8_t add[256][16];      /* by the upper byte of the magnitude */
} v_ready[2] __attribute__((aligned(64))); /* NF4, FP4 */

static void v_ready_fill(void)
{
    for (int k = 0; k < 2; k++)
        for (uint32_t i = 0; i < 256; i++)
            for (int c = 0; c < 16; c++) {
                float v = (k ? QUANTIZED_FP4_VALUES : QUANTIZED_NF4_VALUES)[c];
                uint16_t u = f32_to_bf16(v * bf16_to_f32((uint16_t)(0x3f00 | i)));
                v_ready[k].bytes[i][0][c] = (uint8_t)u, v_ready[k].bytes[i][1][c] = (uint8_t)(u >> 8);
                v_ready[k].add[i][c] = v == 0 ? 0 : (uint8_t)(i - 0x3f);
            }
}

/* Whether there is a table for a: exact, and far from what would make values subnormal or infinite. */
VEC bool v_is_ready(uint32_t a) { return (a & 0xffff) == 0 && a - 0x10000000 < 0x60000000; }

VEC __m256i v_twice(const uint8_t p[16]) { return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)p)); }

VEC void v_bytes_ready(v_bytes *t, const struct v_ready *r, uint32_t a)
{
    const uint8_t (*b)[16] = r->bytes[a >> 16 & 255];
    t->of[2] = v_twice(b[0]);
    t->of[3] = _mm256_add_epi8(v_twice(b[1]), v_twice(r->add[a >> 24]));
}

/* Four vectors of values, of the upper nibbles of 32 bytes (lower 0) or the lower ones. */
VEC void v_batch_values(vf to[4], vi codes, const v_bytes *b, const int lower, const bool bf16)
{
    const __m256i high = _mm256_set1_epi32((int)0xffff0000);
    __m256i i = _mm256_and_si256(lower ? codes : _mm256_srli_epi16(codes, 4), _mm256_set1_epi8(15));
    __m256i b2 = _mm256_shuffle_epi8(b->of[2], i), b3 = _mm256_shuffle_epi8(b->of[3], i);
    __m256i upper[2] = {_mm256_unpacklo_epi8(b2, b3), _mm256_unpackhi_epi8(b2, b3)};
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
        __m256i even = _mm256_slli_epi32(upper[j], 16), odd = _mm256_and_si256(upper[j], high);
        if (!bf16) {
            __m256i b0 = _mm256_shuffle_epi8(b->of[0], i), b1 = _mm256_shuffle_epi8(b->of[1], i);
            __m256i rest = j ? _mm256_unpackhi_epi8(b0, b1) : _mm256_unpacklo_epi8(b0, b1);
            even = _mm256_blend_epi16(even, rest, 0x55), odd = _mm256_or_si256(odd, _mm256_srli_epi32(rest, 16));
        }
        to[2 * j] = _mm256_castsi256_ps(even), to[2 * j + 1] = _mm256_castsi256_ps(odd);
    }
}

/* ---- values of 16 bits, in order ---- */

/* Of 16 values as numbers of F16 or BF16. */
VEC v_bytes v_bytes_typed(const vf values[2], enum dtype type)
{
    v_bytes t = {0};
    __m256i u;
    if (type == DTYPE_F16) {
        __m128i low = _mm256_cvtps_ph(values[0], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        u = _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm256_cvtps_ph(values[1], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), 1);
    } else {
        __m256i low = _mm256_srli_epi32(_mm256_castps_si256(v_round_bf16(values[0])), 16);
        __m256i high = _mm256_srli_epi32(_mm256_castps_si256(v_round_bf16(values[1])), 16);
        u = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
    }
    u = _mm256_packus_epi16(_mm256_and_si256(u, _mm256_set1_epi16(255)), _mm256_srli_epi16(u, 8));
    t.of[2] = _mm256_permute4x64_epi64(u, 0x88), t.of[3] = _mm256_permute4x64_epi64(u, 0xdd);
    return t;
}

/* A batch; upper: the upper nibble of a byte comes first. */
VEC void v_batch_store(void *to, vi codes, const v_bytes *t, const bool upper)
{
    __m256i low = _mm256_and_si256(codes, _mm256_set1_epi8(15)), high = _mm256_and_si256(_mm256_srli_epi16(codes, 4), _mm256_set1_epi8(15));
    __m256i a = upper ? high : low, b = upper ? low : high, *p = to;
    __m256i a2 = _mm256_shuffle_epi8(t->of[2], a), a3 = _mm256_shuffle_epi8(t->of[3], a);
    __m256i b2 = _mm256_shuffle_epi8(t->of[2], b), b3 = _mm256_shuffle_epi8(t->of[3], b);
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
        __m256i first = j ? _mm256_unpackhi_epi8(a2, a3) : _mm256_unpacklo_epi8(a2, a3);
        __m256i second = j ? _mm256_unpackhi_epi8(b2, b3) : _mm256_unpacklo_epi8(b2, b3);
        __m256i lower = _mm256_unpacklo_epi16(first, second), upper_part = _mm256_unpackhi_epi16(first, second);
        _mm256_storeu_si256(p + j, _mm256_permute2x128_si256(lower, upper_part, 0x20));
        _mm256_storeu_si256(p + 2 + j, _mm256_permute2x128_si256(lower, upper_part, 0x31));
    }
}

/* ---- sums of 4-bit codes times integers of 24 bits, byte by byte ---- */

#define V_DIGITS 3

/* Eight integers of 24 bits, each 0x808080 too much, as three signed bytes each. Word 2 d: byte d of the even four; word 2 d + 1: of the odd ones. */
VEC void v_digits_store(void *to, vi x)
{
    const __m256i part = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, -1, -1, -1, -1));
    __m256i b = _mm256_shuffle_epi8(_mm256_xor_si256(x, _mm256_set1_epi32(0x808080)), part);
    __m128i low = _mm256_castsi256_si128(b), high = _mm256_extracti128_si256(b, 1);
    _mm_storeu_si128(to, _mm_unpacklo_epi16(low, high));
    _mm_storeu_si128((__m128i *)to + 1, _mm_unpackhi_epi16(low, high));
}

VEC vi v_digits_load(const void *x, int word) { return vi_words((const char *)x + word * 4); }
VEC vi v_even_nibbles(vi words) { return _mm256_and_si256(words, _mm256_set1_epi8(15)); }
VEC vi v_odd_nibbles(vi words) { return _mm256_and_si256(_mm256_srli_epi16(words, 4), _mm256_set1_epi8(15)); }
/* Sums of 16 bits, of up to 8 of these; then of 32. */
VEC vi v_digits_add(vi sum, vi nibbles, vi digits)
{
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(nibbles, digits));
    __asm__("" : "+x"(sum)); /* else compilers make all products first, which then do not fit into the registers */
    return sum;
}
VEC vi v_digits_widen(vi sum, vi part) { return _mm256_add_epi32(sum, _mm256_madd_epi16(part, _mm256_set1_epi16(1))); }

#endif
