/* Vectors of 16 floats in plain C, with the tile shape of AVX-512: level_wide.c runs the templates in this shape on any
 * machine, so that their logic is tested where no AVX-512 is. Lane for lane the results are those of vec_avx512.h. */
#ifndef KERNELS_CPU_VEC_WIDE_H
#define KERNELS_CPU_VEC_WIDE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/dtype.h"

#define VL 16
#define TILE_ROWS 14
#define TILE_VECS 2

typedef struct { float f[VL]; } vf;
typedef struct { uint64_t u[VL / 2]; } vu;

#define VEC static inline __attribute__((unused))
#define EACH(r, value) vf r; for (int i = 0; i < VL; i++) r.f[i] = (value); return r

VEC vf v_load(const float *p) /* weights may lie at any address */
{
    vf r;
    memcpy(r.f, p, sizeof r.f);
    return r;
}
VEC void v_store(float *p, vf a) { memcpy(p, a.f, sizeof a.f); }
VEC vf v_set(float a) { EACH(r, a); }
VEC vf v_add(vf a, vf b) { EACH(r, a.f[i] + b.f[i]); }
VEC vf v_sub(vf a, vf b) { EACH(r, a.f[i] - b.f[i]); }
VEC vf v_mul(vf a, vf b) { EACH(r, a.f[i] * b.f[i]); }
VEC vf v_div(vf a, vf b) { EACH(r, a.f[i] / b.f[i]); }
VEC vf v_fma(vf a, vf b, vf c) { EACH(r, fmaf(a.f[i], b.f[i], c.f[i])); }
VEC vf v_fnma(vf a, vf b, vf c) { EACH(r, fmaf(-a.f[i], b.f[i], c.f[i])); }
VEC vf v_max(vf a, vf b) { EACH(r, a.f[i] > b.f[i] ? a.f[i] : b.f[i]); }
VEC vf v_min(vf a, vf b) { EACH(r, a.f[i] < b.f[i] ? a.f[i] : b.f[i]); }
VEC vf v_sqrt(vf a) { EACH(r, sqrtf(a.f[i])); }
VEC vf v_round(vf a) { EACH(r, rintf(a.f[i])); }
VEC vf v_if_less(vf a, vf b, vf yes, vf no) { EACH(r, a.f[i] < b.f[i] ? yes.f[i] : no.f[i]); }
VEC vf v_load_n(const float *p, int n)
{
    vf r = {{0}};
    memcpy(r.f, p, (size_t)n * sizeof *p);
    return r;
}
VEC void v_store_n(float *p, vf a, int n) { memcpy(p, a.f, (size_t)n * sizeof *p); }

VEC uint16_t v_half(const void *p, int i)
{
    uint16_t h;
    memcpy(&h, (const char *)p + 2 * i, 2);
    return h;
}
VEC vf v_load_bf16(const void *p) { EACH(r, bf16_to_f32(v_half(p, i))); }
/* Elements 0, 2, 4 ... and 1, 3, 5 ... of 2 * VL. */
VEC vf v_even_bf16(const void *p) { EACH(r, bf16_to_f32(v_half(p, 2 * i))); }
VEC vf v_odd_bf16(const void *p) { EACH(r, bf16_to_f32(v_half(p, 2 * i + 1))); }
VEC vf v_load_f16(const void *p) { EACH(r, f16_to_f32(v_half(p, i))); }
VEC vf v_round_bf16(vf a) { EACH(r, bf16_to_f32(f32_to_bf16(a.f[i]))); }

VEC float v_shift_one(float a, float n)
{
    uint32_t u;
    memcpy(&u, &a, 4);
    u += (uint32_t)(isfinite(n) ? (int32_t)n : INT32_MIN) << 23;
    memcpy(&a, &u, 4);
    return a;
}
VEC vf v_shift_exponent(vf a, vf n) { EACH(r, v_shift_one(a.f[i], n.f[i])); }

VEC float v_sum(vf a)
{
    for (int half = VL / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            a.f[i] += a.f[i + half];
    return a.f[0];
}

VEC float v_top(vf a)
{
    for (int half = VL / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            a.f[i] = a.f[i] > a.f[i + half] ? a.f[i] : a.f[i + half];
    return a.f[0];
}

VEC void v_transpose(vf r[VL])
{
    for (int i = 0; i < VL; i++)
        for (int j = 0; j < i; j++) {
            float t = r[i].f[j];
            r[i].f[j] = r[j].f[i];
            r[j].f[i] = t;
        }
}

VEC void v_unzip(vf lo, vf hi, vf *even, vf *odd)
{
    for (int i = 0; i < VL / 2; i++) {
        even->f[i] = lo.f[2 * i], odd->f[i] = lo.f[2 * i + 1];
        even->f[i + VL / 2] = hi.f[2 * i], odd->f[i + VL / 2] = hi.f[2 * i + 1];
    }
}

#define EACH64(r, value) vu r; for (int i = 0; i < VL / 2; i++) r.u[i] = (value); return r
VEC vu v_u64_set(uint64_t a) { EACH64(r, a); }
VEC vu v_u64_count(uint64_t a) { EACH64(r, a + (uint64_t)i); }
VEC vu v_u64_mul32(vu a, vu b) { EACH64(r, (a.u[i] & 0xffffffff) * (b.u[i] & 0xffffffff)); }
VEC vu v_u64_high(vu a) { EACH64(r, a.u[i] >> 32); }
VEC vu v_u64_xor(vu a, vu b) { EACH64(r, a.u[i] ^ b.u[i]); }
VEC void v_u64_store(uint64_t *p, vu a) { memcpy(p, a.u, sizeof a.u); }

typedef struct { uint32_t i[VL]; } vi;

#define EACH32(r, value) vi r; for (int i = 0; i < VL; i++) r.i[i] = (value); return r
VEC vi vi_load(const void *p)
{
    vi r;
    memcpy(r.i, p, sizeof r.i);
    return r;
}
VEC vi vi_set(uint32_t a) { EACH32(r, a); }
VEC vi vi_words(const void *p)
{
    uint32_t word[2];
    memcpy(word, p, sizeof word);
    EACH32(r, word[i / 8]);
}
VEC vi vi_bytes(const void *p) { EACH32(r, (uint32_t)((const int8_t *)p)[i]); }
VEC vi vi_and(vi a, vi b) { EACH32(r, a.i[i] & b.i[i]); }
VEC vi vi_or(vi a, vi b) { EACH32(r, a.i[i] | b.i[i]); }
VEC vi vi_add(vi a, vi b) { EACH32(r, a.i[i] + b.i[i]); }
VEC vi vi_shift_up(vi a, int n) { EACH32(r, a.i[i] << n); }
VEC vi vi_shift_down(vi a, int n) { EACH32(r, a.i[i] >> n); }
VEC vi vi_shift_each(vi a, vi n) { EACH32(r, a.i[i] >> n.i[i]); }
VEC vi vi_if_less(vf a, vf b, vi yes) { EACH32(r, a.f[i] < b.f[i] ? yes.i[i] : 0); }
VEC vi vi_of_bits(vf a)
{
    vi r;
    memcpy(r.i, a.f, sizeof r.i);
    return r;
}
VEC vi vi_nearest(vf a) { EACH32(r, (uint32_t)(int32_t)rintf(a.f[i])); }
VEC vf v_of_int(vi a) { EACH(r, (float)(int32_t)a.i[i]); }
VEC vf v_lookup(const vf table[16 / VL], vi index) { EACH(r, table[0].f[index.i[i] & 15]); }
VEC vf v_round_f16(vf a) { EACH(r, f16_to_f32(f32_to_f16(a.f[i]))); }
VEC void v_store_f16(void *p, vf a) { dtype_from_f32(p, DTYPE_F16, a.f, VL); }
VEC void v_store_bf16(void *p, vf a) { dtype_from_f32(p, DTYPE_BF16, a.f, VL); }
VEC void vi_store_bytes(void *p, vi a)
{
    for (int i = 0; i < VL; i++)
        ((uint8_t *)p)[i] = (uint8_t)a.i[i];
}
VEC void vi_store_nibbles(void *p, vi a)
{
    for (int i = 0; i < VL / 2; i++)
        ((uint8_t *)p)[i] = (uint8_t)(a.i[2 * i] << 4 | a.i[2 * i + 1]);
}

#endif
