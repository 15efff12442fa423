/* Gradients of parameters that are sums over rows (struct row_sum of kernels.h), in two steps whose order depends on the parts alone: pieces of
 * rows of a part are summed side by side, then the pieces of each part are added in order, and the parts in order to s->to.
 *
 *     row_sum_add(s, dy, dy_stride, NULL, 0, NULL, n, c);         s->to[j] += sum over i of dy[i][j]
 *     row_sum_add(s, dy, dy_stride, x, x_stride, rstd, n, c);     ... of dy[i][j] * x[i][j] * rstd[i]  */
#ifndef KERNELS_CUDA_ROW_SUM_H
#define KERNELS_CUDA_ROW_SUM_H

#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

void row_sum_add(const struct row_sum *s, const float *dy, int64_t dy_stride, const float *x, int64_t x_stride, const float *rstd, int64_t n, int64_t c);

#endif
