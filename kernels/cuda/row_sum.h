/* Sums over rows for gradients of parameters (struct row_sum of kernels.h), in two steps whose order depends on the parts alone: pieces
 * of ROW_PIECE rows of a part are summed side by side into `partial` (pieces, c), then row_sum_finish adds the pieces of each part in order, and the
 * parts in order to s->to.
 *
 *     struct row_pieces p;
 *     if (!row_pieces_make(&p, s, n, c)) return;      (nothing to sum, or an error that stays)
 *     LAUNCH(my_kernel, dim3(columns, p.count), ...)  (block y sums the rows p.rows[y].begin .. end of its columns into p.partial + y * c)
 *     row_sum_finish(&p, s, c); */
#ifndef KERNELS_CUDA_ROW_SUM_H
#define KERNELS_CUDA_ROW_SUM_H

#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

#define ROW_PIECE 512

struct row_piece {
    int64_t begin, end;
    int64_t part;
};

struct row_pieces {
    int count;
    const struct row_piece *rows; /* device */
    float *partial;               /* device, (count, c) */
};

bool row_pieces_make(struct row_pieces *p, const struct row_sum *s, int64_t n, int64_t c);
void row_sum_finish(const struct row_pieces *p, const struct row_sum *s, int64_t c);

#endif
