/* Products of few rows (decoding): the weights are read once for all of them. */
#ifndef KERNELS_CUDA_FEW_H
#define KERNELS_CUDA_FEW_H

#include "kernels/kernels.h"

/* Does this product (a term as one of its own) take that way? B is a weight (out, in) transposed, A lies in rows, M <= MATMUL_FEW_ROWS, no cuts. */
bool few_takes(const struct matmul *m);
/* Each row's bits depend on that row and the weight alone. */
void few_product(const struct matmul *m);

#endif
