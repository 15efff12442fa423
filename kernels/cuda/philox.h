/* base/rng.h on the device: the same words for the same seed, stream and counter. */
#ifndef KERNELS_CUDA_PHILOX_H
#define KERNELS_CUDA_PHILOX_H

#include "kernels/cuda/launch.h"

static __device__ __forceinline__ void philox(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint32_t n0 = __umulhi(c2, 0xcd9e8d57u) ^ c1 ^ k0, n2 = __umulhi(c0, 0xd2511f53u) ^ c3 ^ k1;
        c1 = c2 * 0xcd9e8d57u, c3 = c0 * 0xd2511f53u;
        c0 = n0, c2 = n2;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* [0, 1), 24 bits: rng_uniform of one word. */
static __device__ __forceinline__ float philox_uniform(uint32_t word)
{
    return (float)(word >> 8) * 0x1p-24f;
}

#endif
