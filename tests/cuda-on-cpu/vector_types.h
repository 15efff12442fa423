/* CUDA's vector types, bf16 and half with their conversions (rounded to nearest, ties to even), as far as the kernels use them. */
#ifndef VECTOR_TYPES_H
#define VECTOR_TYPES_H

#include <stdint.h>
#include <string.h>

extern "C" {
extern "C" {
#include "base/dtype.h"
}
}

#define EMU_VECTOR2(name, type, align)  \
    struct __attribute__((aligned(align))) name { type x, y; }; \
    static inline name make_##name(type x, type y) { name v = {x, y}; return v; }
#define EMU_VECTOR4(name, type, align)  \
    struct __attribute__((aligned(align))) name { type x, y, z, w; }; \
    static inline name make_##name(type x, type y, type z, type w) { name v = {x, y, z, w}; return v; }

EMU_VECTOR2(char2, signed char, 2)
EMU_VECTOR2(uchar2, unsigned char, 2)
EMU_VECTOR2(short2, short, 4)
EMU_VECTOR2(ushort2, unsigned short, 4)
EMU_VECTOR2(int2, int, 8)
EMU_VECTOR2(uint2, unsigned, 8)
EMU_VECTOR2(float2, float, 8)
EMU_VECTOR2(double2, double, 16)
EMU_VECTOR2(longlong2, long long, 16)
EMU_VECTOR2(ulonglong2, unsigned long long, 16)
EMU_VECTOR4(char4, signed char, 4)
EMU_VECTOR4(uchar4, unsigned char, 4)
EMU_VECTOR4(short4, short, 8)
EMU_VECTOR4(ushort4, unsigned short, 8)
EMU_VECTOR4(int4, int, 16)
EMU_VECTOR4(uint4, unsigned, 16)
EMU_VECTOR4(float4, float, 16)

struct float3 { float x, y, z; };
struct int3 { int x, y, z; };
struct uint3 { unsigned x, y, z; };

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/* --- reinterpretation --- */

template <class To, class From> static inline To emu_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

static inline int __float_as_int(float f) { return emu_bits<int>(f); }
static inline unsigned __float_as_uint(float f) { return emu_bits<unsigned>(f); }
static inline float __int_as_float(int i) { return emu_bits<float>(i); }
static inline float __uint_as_float(unsigned u) { return emu_bits<float>(u); }
static inline long long __double_as_longlong(double d) { return emu_bits<long long>(d); }
static inline double __longlong_as_double(long long l) { return emu_bits<double>(l); }

/* --- bf16 and half --- */

struct __attribute__((aligned(2))) __nv_bfloat16 { unsigned short bits; };
struct __attribute__((aligned(2))) __half { unsigned short bits; };
struct __attribute__((aligned(4))) __nv_bfloat162 { __nv_bfloat16 x, y; };
struct __attribute__((aligned(4))) __half2 { __half x, y; };
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;
typedef __half half;
typedef __half2 half2;

static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) { __nv_bfloat16 b = {u}; return b; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.bits; }
static inline __half __ushort_as_half(unsigned short u) { __half h = {u}; return h; }
static inline unsigned short __half_as_ushort(__half h) { return h.bits; }

static inline float __bfloat162float(__nv_bfloat16 b) { return __uint_as_float((unsigned)b.bits << 16); }

static inline __nv_bfloat16 __float2bfloat16(float f)
{
    unsigned u = __float_as_uint(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return __ushort_as_bfloat16(0x7fff);
    return __ushort_as_bfloat16((unsigned short)((u + 0x7fffu + (u >> 16 & 1)) >> 16));
}

static inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __float2bfloat16(f); }
static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { __nv_bfloat162 r = {__float2bfloat16(x), __float2bfloat16(y)}; return r; }
static inline __nv_bfloat162 __float22bfloat162_rn(float2 f) { return __floats2bfloat162_rn(f.x, f.y); }
static inline float2 __bfloat1622float2(__nv_bfloat162 b) { return make_float2(__bfloat162float(b.x), __bfloat162float(b.y)); }
static inline float __low2float(__nv_bfloat162 b) { return __bfloat162float(b.x); }
static inline float __high2float(__nv_bfloat162 b) { return __bfloat162float(b.y); }
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { __nv_bfloat162 r = {x, y}; return r; }

static inline float __half2float(__half h) { return f16_to_f32(h.bits); }
static inline __half __float2half(float f) { return __ushort_as_half(f32_to_f16(f)); }
static inline __half __float2half_rn(float f) { return __float2half(f); }
static inline __half2 __floats2half2_rn(float x, float y) { __half2 r = {__float2half(x), __float2half(y)}; return r; }
static inline __half2 __float22half2_rn(float2 f) { return __floats2half2_rn(f.x, f.y); }
static inline float2 __half22float2(__half2 h) { return make_float2(__half2float(h.x), __half2float(h.y)); }
static inline __half2 __halves2half2(__half x, __half y) { __half2 r = {x, y}; return r; }

#endif
