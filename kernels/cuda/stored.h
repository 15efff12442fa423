/* Elements as they are stored: F32, F16 or BF16 at any alignment, to and from f32 with dtype.h's roundings. */
#ifndef KERNELS_CUDA_STORED_H
#define KERNELS_CUDA_STORED_H

extern "C" {
#include "base/dtype.h"
}
#include "kernels/cuda/launch.h"

static __device__ __forceinline__ float bits_to_f32(uint32_t u)
{
#ifdef __CUDACC__
    return __uint_as_float(u);
#else
    float f;
    __builtin_memcpy(&f, &u, 4);
    return f;
#endif
}

static __device__ __forceinline__ uint32_t f32_to_bits(float f)
{
#ifdef __CUDACC__
    return __float_as_uint(f);
#else
    uint32_t u;
    __builtin_memcpy(&u, &f, 4);
    return u;
#endif
}

static __device__ __forceinline__ uint16_t round_to_bf16(float f)
{
    uint32_t u = f32_to_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

static __device__ __forceinline__ float from_bf16(uint16_t h)
{
    return bits_to_f32((uint32_t)h << 16);
}

static __device__ __forceinline__ uint16_t round_to_f16(float f)
{
    __half h = __float2half_rn(f);
    uint16_t u;
    __builtin_memcpy(&u, &h, 2);
    return u;
}

static __device__ __forceinline__ float from_f16(uint16_t u)
{
    __half h;
    __builtin_memcpy(&h, &u, 2);
    return __half2float(h);
}

/* Little-endian numbers at any address. */
static __device__ __forceinline__ uint16_t get16(const void *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uintptr_t)p % 2 == 0 ? *(const uint16_t *)p : (uint16_t)(b[0] | b[1] << 8);
}

static __device__ __forceinline__ uint32_t get32(const void *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return (uintptr_t)p % 4 == 0 ? *(const uint32_t *)p : (uint32_t)get16(b) | (uint32_t)get16(b + 2) << 16;
}

static __device__ __forceinline__ float stored_at(const void *p, enum dtype type, int64_t i)
{
    if (type == DTYPE_F32)
        return bits_to_f32(get32((const uint8_t *)p + 4 * i));
    uint16_t h = get16((const uint8_t *)p + 2 * i);
    return type == DTYPE_BF16 ? from_bf16(h) : from_f16(h);
}

/* `to` aligned to the element's size. */
static __device__ __forceinline__ void store_as(void *to, enum dtype type, int64_t i, float v)
{
    if (type == DTYPE_F32)
        ((float *)to)[i] = v;
    else
        ((uint16_t *)to)[i] = type == DTYPE_BF16 ? round_to_bf16(v) : round_to_f16(v);
}

#endif
