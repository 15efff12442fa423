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

/* Elements j .. j + 3 of a row of c, zeros behind its end. */
template <int W> static __device__ __forceinline__ struct floats<4> load_four(const float *row, int64_t j, int64_t c)
{
    struct floats<4> v;
    if constexpr (W == 4)
        v = load<4>(row + j);
    else
        for (int e = 0; e < 4; e++)
            v.at[e] = j + e < c ? row[j + e] : 0;
    return v;
}

template <int W> static __device__ __forceinline__ void store_four(float *row, int64_t j, int64_t c, const struct floats<4> &v)
{
    if constexpr (W == 4)
        store<4>(row + j, v);
    else
        for (int e = 0; e < 4; e++)
            if (j + e < c)
                row[j + e] = v.at[e];
}

static inline bool wide_pointer(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

#endif
