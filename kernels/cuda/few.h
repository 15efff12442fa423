/* Products of few rows (decoding): the weights are read once for all of them. Each row's bits depend on that row, the weight and the device alone.
 *
 *     struct few_batch b = {};
 *     few_add(&b, &m);  for each product that few_takes; those of one layout that follow one another go out together
 *     few_flush(&b);
 *
 * What is together must not read what another of them writes. */
#ifndef KERNELS_CUDA_FEW_H
#define KERNELS_CUDA_FEW_H

#include "kernels/kernels.h"

#define FEW_MOST 8          /* products in one launch */
#define FEW_ROWS 48         /* of A in them all: what their sums take is known to plans */
#define FEW_COUNTERS 8192u  /* tiles of them all */

/* Starts products of one layout, at most FEW_MOST, or only says what bytes their sums take; few_dense.cu, few_codes.cu, few_words.cu. */
typedef size_t (*few_start)(const struct matmul *list, int count, bool start);

/* NULL: not such a weight, or it does not lie as these need it. */
few_start few_dense_start(const struct mat *b, int64_t k);
few_start few_codes_start(const struct quantized *q);
few_start few_words_start(const struct quantized *q);

struct few_batch {
    few_start start;
    struct matmul list[FEW_MOST];
    int count;
    int64_t tiles, rows;
};

/* Does this product (a term as one of its own) take that way? B is a weight (out, in) transposed, A lies in rows, M <= MATMUL_FEW_ROWS, no cuts. */
bool few_takes(const struct matmul *m);
void few_add(struct few_batch *b, const struct matmul *m);
void few_flush(struct few_batch *b);

/* Bytes of device memory that products of this one's kind hold at most. */
size_t few_bytes(const struct matmul *m);
/* FEW_COUNTERS zeros on the device. NULL only after an error that stays. */
unsigned *few_counters(void);

#endif
