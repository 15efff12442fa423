/* The matrix product of kernels/cuda/runtime.h in plain C; checks that its operands lie in device memory. */
#ifndef PLAIN_GEMM_H
#define PLAIN_GEMM_H

#include "kernels/cuda/runtime.h"

void plain_gemm(const struct cuda_gemm *g);

#endif
