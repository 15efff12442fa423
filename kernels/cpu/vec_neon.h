/* Vectors of 4 floats in NEON registers (Armv8-A); the same operations as vec_avx2.h. */
#ifndef KERNELS_CPU_VEC_NEON_H
#define KERNELS_CPU_VEC_NEON_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#define VL 4
#define TILE_ROWS 12 /* 12 x 2 accumulators, 2 vectors of B, 1 of A: 27 of 32 registers */
#define TILE_VECS 2

typedef float32x4_t vf;
typedef uint64x2_t vu;

#define VEC static inline __attribute__((always_inline, unused))

/* As bytes: weights may lie at any address. */
VEC vf v_load(const float *p) { return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)p)); }
VEC void v_store(float *p, vf a) { vst1q_u8((uint8_t *)p, vreinterpretq_u8_f32(a)); }
VEC vf v_set(float a) { return vdupq_n_f32(a); }
VEC vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
VEC vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
VEC vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
VEC vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
VEC vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
VEC vf v_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
VEC vf v_sqrt(vf a) { return vsqrtq_f32(a); }
VEC vf v_round(vf a) { return vrndnq_f32(a); }
VEC vf v_if_less(vf a, vf b, vf yes, vf no) { return vbslq_f32(vcltq_f32(a, b), yes, no); }
VEC vf v_max(vf a, vf b) { return v_if_less(b, a, a, b); } /* b when one is NaN, as on x86 */
VEC vf v_min(vf a, vf b) { return v_if_less(a, b, a, b); }

VEC vf v_load_n(const float *p, int n)
{
    float full[VL] = {0};
    if (n >= VL)
        return v_load(p);
    memcpy(full, p, (size_t)n * sizeof *p);
    return v_load(full);
}
VEC void v_store_n(float *p, vf a, int n)
{
    float full[VL];
    if (n >= VL) {
        v_store(p, a);
        return;
    }
    v_store(full, a);
    memcpy(p, full, (size_t)n * sizeof *p);
}

VEC vf v_load_bf16(const void *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}
/* Elements 0, 2, 4 ... and 1, 3, 5 ... of 2 * VL. */
VEC vf v_even_bf16(const void *p) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u8(vld1q_u8(p)), 16)); }
VEC vf v_odd_bf16(const void *p)
{
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u8(vld1q_u8(p)), vdupq_n_u32(0xffff0000)));
}
VEC vf v_load_f16(const void *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }

VEC vf v_round_bf16(vf a)
{
    uint32x4_t u = vreinterpretq_u32_f32(a), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    uint32x4_t r = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    r = vbslq_u32(vceqq_f32(a, a), r, vorrq_u32(u, vdupq_n_u32(0x400000)));
    return vreinterpretq_f32_u32(vandq_u32(r, vdupq_n_u32(0xffff0000)));
}

VEC vf v_shift_exponent(vf a, vf n)
{
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), vshlq_n_s32(vcvtnq_s32_f32(n), 23)));
}

VEC float v_sum(vf a)
{
    float32x2_t half = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(half, 0) + vget_lane_f32(half, 1);
}

VEC float v_top(vf a)
{
    float top[VL];
    v_store(top, a);
    for (int i = 1; i < VL; i++)
        top[0] = top[0] > top[i] ? top[0] : top[i];
    return top[0];
}

VEC void v_transpose(vf r[VL])
{
    float32x4x2_t a = vzipq_f32(r[0], r[2]), b = vzipq_f32(r[1], r[3]);
    float32x4x2_t lo = vzipq_f32(a.val[0], b.val[0]), hi = vzipq_f32(a.val[1], b.val[1]);
    r[0] = lo.val[0], r[1] = lo.val[1], r[2] = hi.val[0], r[3] = hi.val[1];
}

VEC void v_unzip(vf lo, vf hi, vf *even, vf *odd)
{
    *even = vuzp1q_f32(lo, hi);
    *odd = vuzp2q_f32(lo, hi);
}

VEC vu v_u64_set(uint64_t a) { return vdupq_n_u64(a); }
VEC vu v_u64_count(uint64_t a) { return vsetq_lane_u64(a + 1, vdupq_n_u64(a), 1); }
VEC vu v_u64_mul32(vu a, vu b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
VEC vu v_u64_high(vu a) { return vshrq_n_u64(a, 32); }
VEC vu v_u64_xor(vu a, vu b) { return veorq_u64(a, b); }
VEC void v_u64_store(uint64_t *p, vu a) { vst1q_u64(p, a); }

typedef uint32x4_t vi;

VEC vi vi_load(const void *p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }
VEC vi vi_set(uint32_t a) { return vdupq_n_u32(a); }
VEC vi vi_words(const void *p)
{
    uint32_t word;
    memcpy(&word, p, 4);
    return vdupq_n_u32(word);
}
VEC vi vi_bytes(const void *p)
{
    uint32_t word;
    memcpy(&word, p, 4);
    int16x8_t h = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(word)));
    return vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(h)));
}
VEC vi vi_and(vi a, vi b) { return vandq_u32(a, b); }
VEC vi vi_or(vi a, vi b) { return vorrq_u32(a, b); }
VEC vi vi_add(vi a, vi b) { return vaddq_u32(a, b); }
VEC vi vi_shift_up(vi a, int n) { return vshlq_u32(a, vdupq_n_s32(n)); }
VEC vi vi_shift_down(vi a, int n) { return vshlq_u32(a, vdupq_n_s32(-n)); }
VEC vi vi_shift_each(vi a, vi n) { return vshlq_u32(a, vnegq_s32(vreinterpretq_s32_u32(n))); }
VEC vi vi_if_less(vf a, vf b, vi yes) { return vandq_u32(vcltq_f32(a, b), yes); }
VEC vi vi_of_bits(vf a) { return vreinterpretq_u32_f32(a); }
VEC vi vi_nearest(vf a) { return vreinterpretq_u32_s32(vcvtnq_s32_f32(a)); }
VEC vf v_of_int(vi a) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a)); }
VEC vf v_lookup(const vf table[16 / VL], vi index)
{
    uint8x16x4_t bytes = {{vreinterpretq_u8_f32(table[0]), vreinterpretq_u8_f32(table[1]), vreinterpretq_u8_f32(table[2]), vreinterpretq_u8_f32(table[3])}};
    vi at = vmlaq_u32(vdupq_n_u32(0x03020100), vandq_u32(index, vdupq_n_u32(15)), vdupq_n_u32(0x04040404));
    return vreinterpretq_f32_u8(vqtbl4q_u8(bytes, vreinterpretq_u8_u32(at)));
}
VEC vf v_round_f16(vf a) { return vcvt_f32_f16(vcvt_f16_f32(a)); }
VEC void v_store_f16(void *p, vf a) { vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(a))); }
VEC void v_store_bf16(void *p, vf a) { vst1_u8(p, vreinterpret_u8_u16(vshrn_n_u32(vreinterpretq_u32_f32(a), 16))); }
VEC void vi_store_bytes(void *p, vi a)
{
    uint32_t lane[VL];
    vst1q_u32(lane, a);
    for (int i = 0; i < VL; i++)
        ((uint8_t *)p)[i] = (uint8_t)lane[i];
}
VEC void vi_store_nibbles(void *p, vi a)
{
    uint32_t lane[VL];
    vst1q_u32(lane, a);
    for (int i = 0; i < VL / 2; i++)
        ((uint8_t *)p)[i] = (uint8_t)(lane[2 * i] << 4 | lane[2 * i + 1]);
}

#endif
