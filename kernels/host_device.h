/* For functions of the specification that kernels of other devices call as well: static HOST_DEVICE int f(...). */
#ifndef HOST_DEVICE_H
#define HOST_DEVICE_H

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__ __forceinline__
#else
#define HOST_DEVICE inline
#endif

#endif
