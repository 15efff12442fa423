/* The instructions that CUDA C++ has no words for, and the only place of inline assembly. Where there is no nvcc, tests/cuda-on-cpu does
 * the same by their documented semantics (PTX ISA 7.0: "Matrix multiply-accumulate operation using mma instruction", "ldmatrix",
 * "cp.async"); all of sm_80 and later.
 *
 * All lanes of a warp call mma_* and ldmatrix_* together. Addresses named `shared` are ordinary pointers to shared memory.
 *
 *     cp_async_16(&tile[..], &x[..]);      each thread its part
 *     cp_async_commit();                   ends a group
 *     cp_async_wait<0>();                  until at most 0 groups of this thread are on their way
 *     __syncthreads();                     only now may others read them */
#ifndef KERNELS_CUDA_PTX_H
#define KERNELS_CUDA_PTX_H

#include "kernels/cuda/launch.h"

#ifdef __CUDACC__
static __device__ __forceinline__ unsigned shared_address(const void *shared)
{
    return (unsigned)__cvta_generic_to_shared(shared);
}
#endif

/* C (16, 8) += A (16, 16) B (16, 8), bf16 in, f32 sums. With g = lane / 4 and t = lane % 4, a lane holds
 *   of A  a[0]: row g,  a[1]: row g + 8, both at columns 2t, 2t + 1 (the lower half is the first);  a[2], a[3]: the same rows, columns + 8
 *   of B  b[0]: rows 2t, 2t + 1;  b[1]: rows 2t + 8, 2t + 9; column g
 *   of C  c[0], c[1]: row g, columns 2t, 2t + 1;  c[2], c[3]: row g + 8 */
static __device__ __forceinline__ void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
#ifdef __CUDACC__
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    emu_mma_bf16(c, a, b);
#endif
}

/* a + b, two numbers of bf16 side by side. (sub and add of bf16x2 begin with sm_90.) */
static __device__ __forceinline__ uint32_t bf16x2_add(uint32_t a, uint32_t b)
{
    uint32_t sum;
#ifdef __CUDACC__
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(0x3f803f80), "r"(b));
#else
    sum = 0;
    for (int at = 0; at < 32; at += 16)
        sum |= (uint32_t)__bfloat16_as_ushort(__float2bfloat16(__uint_as_float(a >> at << 16) + __uint_as_float(b >> at << 16))) << at;
#endif
    return sum;
}

/* Rounded to bf16, `low` in the lower half. */
static __device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    uint32_t u;
    __builtin_memcpy(&u, &both, sizeof u);
    return u;
}

/* Four 8 x 8 matrices of 16-bit elements: lane 8m + r points at row r of matrix m (16 bytes, aligned to 16); to[m] gets of matrix m row lane / 4,
 * elements 2 (lane % 4) and the next. */
static __device__ __forceinline__ void ldmatrix_x4(uint32_t to[4], const void *shared)
{
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(shared))
                 : "memory");
#else
    emu_ldmatrix(to, 4, false, shared);
#endif
}

/* Two: lanes 0 .. 15 point. */
static __device__ __forceinline__ void ldmatrix_x2(uint32_t to[2], const void *shared)
{
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(shared_address(shared)) : "memory");
#else
    emu_ldmatrix(to, 2, false, shared);
#endif
}

/* The matrices transposed: to[m] gets column lane / 4, elements 2 (lane % 4) and the next. */
static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t to[4], const void *shared)
{
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(shared))
                 : "memory");
#else
    emu_ldmatrix(to, 4, true, shared);
#endif
}

static __device__ __forceinline__ void ldmatrix_x2_trans(uint32_t to[2], const void *shared)
{
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(shared_address(shared))
                 : "memory");
#else
    emu_ldmatrix(to, 2, true, shared);
#endif
}

/* 2^x within 2 units in the last place; subnormal results are zero. */
static __device__ __forceinline__ float exp2_fast(float x)
{
#ifdef __CUDACC__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}

/* 16 bytes from device memory, both sides aligned to 16; only the first `bytes` of them are read, the rest is zero. */
static __device__ __forceinline__ void cp_async_16(void *shared, const void *global, int bytes = 16)
{
#ifdef __CUDACC__
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
#else
    emu_copy_async(shared, global, 16, (unsigned)bytes);
#endif
}

static __device__ __forceinline__ void cp_async_4(void *shared, const void *global, int bytes = 4)
{
#ifdef __CUDACC__
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
#else
    emu_copy_async(shared, global, 4, (unsigned)bytes);
#endif
}

static __device__ __forceinline__ void cp_async_commit()
{
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emu_copy_commit();
#endif
}

template <int LEFT> static __device__ __forceinline__ void cp_async_wait()
{
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#else
    emu_copy_wait(LEFT);
#endif
}

#endif
