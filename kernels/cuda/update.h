/* What both optimizers share: one launch for a list of tensors, whose blocks of threads follow one another, and the factor that clips. */
#ifndef KERNELS_CUDA_UPDATE_H
#define KERNELS_CUDA_UPDATE_H

#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

#define TENSORS_AT_ONCE 4096 /* of a launch */

/* The tensor that this block of threads works on: the last that begins at it or before. */
template <typename T> static __device__ __forceinline__ T tensor_of_block(const T *list, int n)
{
    int low = 0, high = n - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (list[middle].first_block <= (int64_t)blockIdx.x)
            low = middle;
        else
            high = middle - 1;
    }
    return list[low];
}

/* NaN: the step is not to be made. */
static __device__ __forceinline__ float clip_factor(const struct clip *c)
{
    return c ? c->factor : 1;
}

#endif
