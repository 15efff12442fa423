/* How a kernel of this backend is written and started, for nvcc and for the emulator of tests/cuda-on-cpu.
 *
 *     static __global__ void add_kernel(float *x, const float *y, int64_t n)
 *     {
 *         for (int64_t i = grid_thread(); i < n; i += grid_threads())
 *             x[i] += y[i];
 *     }
 *     ... LAUNCH(add_kernel, grid_for(n, 256), 256, 0, x, y, n);
 *
 * LAUNCH(kernel, blocks, threads, bytes of dynamic shared memory, arguments...) puts it on the backend's stream and checks it at once; the first
 * error stays and is told at the next point that can tell (runtime.h). A template's name goes in brackets: LAUNCH((k<4, float>), ...).
 * A grid of no blocks is an error: return first when there is nothing to do.
 *
 * Dynamic shared memory, aligned to 16 bytes:  DYNAMIC_SHARED(float, tile);
 * Host arrays that a kernel needs travel by cuda_upload (runtime.h) or inside a struct passed by value (4 KB in all).
 * Code is compiled without contraction (-fmad=false): a * b + c rounds twice, as on the CPU; where one rounding is wanted, say fmaf(). */
#ifndef KERNELS_CUDA_LAUNCH_H
#define KERNELS_CUDA_LAUNCH_H

#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#else
#include "tests/cuda-on-cpu/cuda_on_cpu.h"
#endif

#include "kernels/cuda/runtime.h"

#define ALL_LANES 0xffffffffu

#ifdef __CUDACC__
#define LAUNCH(kernel, blocks, threads, bytes, ...)                                         \
    do {                                                                                    \
        if (cuda_launch_prepare((const void *)(kernel), bytes)) {                           \
            kernel<<<blocks, threads, bytes, (cudaStream_t)cuda_stream()>>>(__VA_ARGS__);   \
            cuda_launched(#kernel);                                                         \
        }                                                                                   \
    } while (0)
#define DYNAMIC_SHARED(type, name)                              \
    extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
    type *name = (type *)dynamic_shared
#else
#define LAUNCH(kernel, blocks, threads, bytes, ...) emu_launch_kernel(#kernel, kernel, blocks, threads, bytes, __VA_ARGS__)
#define DYNAMIC_SHARED(type, name) type *name = (type *)emu_dynamic_shared()
#endif

/* Grids of one dimension. */
static __device__ __forceinline__ int64_t grid_thread()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ __forceinline__ int64_t grid_threads()
{
    return (int64_t)gridDim.x * blockDim.x;
}

/* Blocks for n threads, or as many as keep the device busy while each thread takes several. */
static inline unsigned grid_for(int64_t n, int threads)
{
    int64_t blocks = (n + threads - 1) / threads, most = 32 * (int64_t)cuda_multiprocessors();
    return (unsigned)(blocks < most ? blocks : most);
}

/* Sums, of floats or doubles, in a fixed order: halves of the warp onto one another, then warps in order. */
template <typename T> static __device__ __forceinline__ T warp_sum(T v)
{
    for (int by = 16; by > 0; by /= 2)
        v += __shfl_xor_sync(ALL_LANES, v, by);
    return v;
}

static __device__ __forceinline__ float warp_max(float v)
{
    for (int by = 16; by > 0; by /= 2)
        v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, by));
    return v;
}

/* For all threads of a block of THREADS, one dimension, called by all of them; `part` is theirs until the next barrier behind it. */
template <int THREADS, typename T> static __device__ __forceinline__ T block_sum(T v, T part[THREADS / 32])
{
    static_assert(THREADS % 32 == 0, "whole warps");
    v = warp_sum(v);
    __syncthreads(); /* part may still be read from before */
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0;
    for (int w = 0; w < THREADS / 32; w++)
        v += part[w];
    return v;
}

#endif
