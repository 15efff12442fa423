/* The CUDA backend from the inside: each family of operations fills its entries of the table. */
#ifndef KERNELS_CUDA_TABLE_H
#define KERNELS_CUDA_TABLE_H

extern "C" {
#include "kernels/kernels.h"
}

/* Weak: a family that is not built leaves its entries empty, and finetools_cuda_open says so. */
#define CUDA_FAMILY __attribute__((weak))
CUDA_FAMILY void cuda_fill_elements(struct kernels *k);  /* add, scale, scale_rows, bias_add, swiglu */
CUDA_FAMILY void cuda_fill_norm(struct kernels *k);      /* rmsnorm, add_rmsnorm */
CUDA_FAMILY void cuda_fill_rows(struct kernels *k);      /* bias_backward, rope, embedding, gather_rows, scatter_rows, dropout */
CUDA_FAMILY void cuda_fill_matmul(struct kernels *k);    /* matmul */
CUDA_FAMILY void cuda_fill_attention(struct kernels *k); /* attention, scratch_bytes */
CUDA_FAMILY void cuda_fill_loss(struct kernels *k);      /* cross_entropy, row_stats */
CUDA_FAMILY void cuda_fill_update(struct kernels *k);    /* sum_squares, clip, adamw, adamw_8bit */
CUDA_FAMILY void cuda_fill_quantized(struct kernels *k); /* dequantize, quantize_4bit, quantize_rows_int8, requantize */
CUDA_FAMILY void cuda_fill_ceiling(struct kernels *k);   /* ceiling */

#endif
