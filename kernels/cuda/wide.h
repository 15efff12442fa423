/* Floats four at a time where addresses and counts allow it, one at a time elsewhere: kernels are written once over the width W.
 *
 *     struct floats<W> v = load<W>(x + i);  v.at[e] ...  store<W>(x + i, v);
 *
 * The host picks W: 4 when wide_pointer() of every pointer, and every row stride and count is a multiple of 4. */
#ifndef KERNELS_CUDA_WIDE_H
#define KERNELS_CUDA_WIDE_H

#include "kernels/cuda/launch.h"

template <int W> struct __align__(4 * W) floats {
    float at[W];
};

template <int W> static __device__ __forceinline__ struct floats<W> load(const float *p)
{
    return *(const struct floats<W> *)p;
}

template <int W> static __device__ __forceinline__ void store(float *p, const struct floats<W> &v)
{
    *(struct floats<W> *)p = v;
}

static inline bool wide_pointer(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

#endif
