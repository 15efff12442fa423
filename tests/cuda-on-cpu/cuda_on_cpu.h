/* CUDA's language for g++: what a .cu file of kernels/cuda may use of it (and nothing else: __activemask, textures, float atomics
 * are left out on purpose). kernels/cuda/launch.h includes it where there is no nvcc. Functions behave as the CUDA C++ programming guide
 * and the math API say; the fast intrinsics (__expf) are the plain ones. */
#ifndef CUDA_ON_CPU_H
#define CUDA_ON_CPU_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/cuda-on-cpu/emu_api.h"
#include "tests/cuda-on-cpu/vector_types.h"

#define __global__
#define __device__
#define __host__
#define __shared__ thread_local /* access.c finds them there; one block runs at a time */
#define __constant__ __attribute__((section("emu_constant")))
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

#define warpSize 32
#define threadIdx (uint3{emu_thread_at(0), emu_thread_at(1), emu_thread_at(2)})
#define blockIdx (uint3{emu_block_at(0), emu_block_at(1), emu_block_at(2)})
#define blockDim (uint3{emu_block_dim(0), emu_block_dim(1), emu_block_dim(2)})
#define gridDim (uint3{emu_grid_dim(0), emu_grid_dim(1), emu_grid_dim(2)})

/* Copies of memory in device code: the compiler does not announce what these touch. */
static inline void *emu_memcpy(void *to, const void *from, size_t n)
{
    emu_check_range(from, n, false);
    emu_check_range(to, n, true);
    return __builtin_memcpy(to, from, n);
}
static inline void *emu_memset(void *to, int c, size_t n)
{
    emu_check_range(to, n, true);
    return __builtin_memset(to, c, n);
}
#define memcpy emu_memcpy
#define memset emu_memset

/* --- meeting --- */

static inline void __syncthreads() { emu_block_barrier(EMU_SYNC, 0); }
static inline int __syncthreads_or(int p) { return emu_block_barrier(EMU_SYNC_OR, p); }
static inline int __syncthreads_and(int p) { return emu_block_barrier(EMU_SYNC_AND, p); }
static inline int __syncthreads_count(int p) { return emu_block_barrier(EMU_SYNC_COUNT, p); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { emu_warp_meet(EMU_SYNCWARP, mask); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

template <class T> static inline T emu_shuffle_as(enum emu_warp_op op, unsigned mask, T value, int source, int width)
{
    static_assert(sizeof(T) <= 8, "shuffles move up to 8 bytes");
    uint64_t u = 0;
    __builtin_memcpy(&u, &value, sizeof value);
    u = emu_shuffle(op, mask, u, source, width);
    __builtin_memcpy(&value, &u, sizeof value);
    return value;
}
template <class T> static inline T __shfl_sync(unsigned mask, T v, int source, int width = 32) { return emu_shuffle_as(EMU_SHFL, mask, v, source, width); }
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) { return emu_shuffle_as(EMU_SHFL_XOR, mask, v, bits, width); }
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) { return emu_shuffle_as(EMU_SHFL_UP, mask, v, (int)by, width); }
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) { return emu_shuffle_as(EMU_SHFL_DOWN, mask, v, (int)by, width); }

static inline int __all_sync(unsigned mask, int p) { return (int)emu_reduce(EMU_ALL, mask, p != 0); }
static inline int __any_sync(unsigned mask, int p) { return (int)emu_reduce(EMU_ANY, mask, p != 0); }
static inline unsigned __ballot_sync(unsigned mask, int p) { return emu_reduce(EMU_BALLOT, mask, p != 0); }
static inline int __reduce_add_sync(unsigned mask, int v) { return (int)emu_reduce(EMU_REDUCE_ADD, mask, (unsigned)v); }
static inline unsigned __reduce_add_sync(unsigned mask, unsigned v) { return emu_reduce(EMU_REDUCE_ADD, mask, v); }
static inline int __reduce_min_sync(unsigned mask, int v) { return (int)emu_reduce(EMU_REDUCE_MIN, mask, (unsigned)v); }
static inline int __reduce_max_sync(unsigned mask, int v) { return (int)emu_reduce(EMU_REDUCE_MAX, mask, (unsigned)v); }
static inline unsigned __reduce_min_sync(unsigned mask, unsigned v) { return emu_reduce(EMU_REDUCE_UMIN, mask, v); }
static inline unsigned __reduce_max_sync(unsigned mask, unsigned v) { return emu_reduce(EMU_REDUCE_UMAX, mask, v); }
static inline unsigned __reduce_and_sync(unsigned mask, unsigned v) { return emu_reduce(EMU_REDUCE_AND, mask, v); }
static inline unsigned __reduce_or_sync(unsigned mask, unsigned v) { return emu_reduce(EMU_REDUCE_OR, mask, v); }
static inline unsigned __reduce_xor_sync(unsigned mask, unsigned v) { return emu_reduce(EMU_REDUCE_XOR, mask, v); }

/* --- atomic operations on integers: the old value --- */

#define EMU_ATOMIC(name, expression)                                                                             \
    template <class T> __attribute__((no_sanitize("thread"))) static inline T name(T *p, T v)                                   \
    {                                                                                                                \
        static_assert(T(1) / 2 == 0, "atomic operations are on integers: sums of floats would depend on their order");         \
        emu_atomic(p, sizeof *p);                                                                                    \
        T old = *p;                                                                                                  \
        *p = expression;                                                                                             \
        return old;                                                                                                  \
    }
EMU_ATOMIC(atomicAdd, (T)(old + v))
EMU_ATOMIC(atomicSub, (T)(old - v))
EMU_ATOMIC(atomicMin, v < old ? v : old)
EMU_ATOMIC(atomicMax, v > old ? v : old)
EMU_ATOMIC(atomicAnd, (T)(old & v))
EMU_ATOMIC(atomicOr, (T)(old | v))
EMU_ATOMIC(atomicXor, (T)(old ^ v))
EMU_ATOMIC(atomicExch, v)
EMU_ATOMIC(atomicInc, (T)(old >= v ? 0 : old + 1))
template <class T> __attribute__((no_sanitize("thread"))) static inline T atomicCAS(T *p, T compare, T v)
{
    emu_atomic(p, sizeof *p);
    T old = *p;
    if (old == compare)
        *p = v;
    return old;
}

/* --- numbers --- */

template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline T __ldca(const T *p) { return *p; }
template <class T> static inline void __stcs(T *p, T v) { *p = v; }
template <class T> static inline void __stcg(T *p, T v) { *p = v; }

#define EMU_MIN_MAX(type)                                             \
    static inline type min(type a, type b) { return b < a ? b : a; } \
    static inline type max(type a, type b) { return a < b ? b : a; }
EMU_MIN_MAX(int)
EMU_MIN_MAX(unsigned)
EMU_MIN_MAX(long)
EMU_MIN_MAX(unsigned long)
EMU_MIN_MAX(long long)
EMU_MIN_MAX(unsigned long long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline float __frsqrt_rn(float x) { return (float)(1 / sqrt((double)x)); }
/* names that the C library has for itself */
#define __expf(x) expf(x)
#define __exp10f(x) powf(10, x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanhf(x) tanhf(x)
static inline float __fdividef(float x, float y) { return x / y; }
static inline float fdividef(float x, float y) { return x / y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1 / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline float __saturatef(float x) { return x > 1 ? 1.0f : x > 0 ? x : 0.0f; }
static inline int __float2int_rn(float x) { return (int)rintf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline int __float2int_rd(float x) { return (int)floorf(x); }
static inline int __float2int_ru(float x) { return (int)ceilf(x); }
static inline unsigned __float2uint_rn(float x) { return (unsigned)rintf(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned long long)((unsigned __int128)a * b >> 64); }
static inline unsigned __brev(unsigned x)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i++)
        r |= (x >> i & 1) << (31 - i);
    return r;
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s)
{
    uint64_t both = x | (uint64_t)y << 32;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned pick = s >> 4 * i, byte = (unsigned)(both >> 8 * (pick & 7)) & 255;
        r |= (pick & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
    }
    return r;
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) { return (unsigned)(((uint64_t)high << 32 | low) >> (by & 31)); }
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) { return (unsigned)(((uint64_t)high << 32 | low) << (by & 31) >> 32); }
static inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++)
        c += (signed char)(a >> 8 * i) * (signed char)(b >> 8 * i);
    return c;
}

static inline void __trap() { emu_trap("__trap()"); }

/* --- launching --- */

/* Kernel and arguments together, to be called by each thread. Not announced: parameters lie where a GPU has them, not in host memory. */
template <class Body> __attribute__((no_sanitize("thread"), noinline)) static void emu_body_call(void *body)
{
    (*(Body *)body)();
}

template <class... P, class... A> static inline void emu_launch_kernel(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, A... a)
{
    auto body = [kernel, a...]() __attribute__((no_sanitize("thread"))) { kernel(static_cast<P>(a)...); };
    unsigned g[3] = {grid.x, grid.y, grid.z}, b[3] = {block.x, block.y, block.z};
    emu_launch_later(name, g, b, shared, emu_body_call<decltype(body)>, &body, sizeof body);
}

#endif
