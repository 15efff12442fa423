/* Bytes of a device that the products of a run make its backend hold, before there are any: each product of linear.c and head.c by its sizes.
 *
 *     plan_product_bytes(model, rows, score_rows, training)
 *
 * rows: of a pack at most; score_rows: of the output layer at a time; training: with the products of the way back. 0 where kernels.h has no matmul_needs. */
#ifndef TRAIN_PLAN_PRODUCTS_H
#define TRAIN_PLAN_PRODUCTS_H

#include "model/model.h"

int64_t plan_product_bytes(struct model *m, int64_t rows, int64_t score_rows, bool training);

#endif
