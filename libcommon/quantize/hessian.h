/* The matrix of second moments of a linear's inputs, H = X^T X over all rows X of the calibration, in double.
 *
 *     hessian_init(&h, n, NULL); hessian_add(&h, k, x, rows) ...; hessian_finish(&h); use h.at; hessian_release(&h)
 *
 * Rows come in parts; the products of one call are summed in f32, at most HESSIAN_ROWS of them at a time, and these sums in double, in
 * order, so the result depends on neither threads nor, where parts are multiples of HESSIAN_ROWS, on how the rows are cut.
 * Little more than what is on and above the diagonal is multiplied. */
#ifndef QUANTIZE_HESSIAN_H
#define QUANTIZE_HESSIAN_H

#include <stdint.h>

#include "kernels/kernels.h"

#define HESSIAN_ROWS 2048

struct hessian {
    int64_t n, rows;  /* rows: of X so far */
    double *at;       /* (n, n); before hessian_finish only on and above the diagonal */
    float *part;      /* scratch */
    float *there;     /* device: where the products are made when that is not the host's memory, hessian_products(n) floats of the caller; else NULL */
};

void hessian_init(struct hessian *h, int64_t n, float *there);
int64_t hessian_products(int64_t n);
void hessian_add(struct hessian *h, const struct kernels *k, const float *x, int64_t rows); /* x (rows, n), device memory */
void hessian_finish(struct hessian *h); /* mirrors what is above the diagonal; frees the scratch */
void hessian_release(struct hessian *h);
int64_t hessian_bytes(int64_t n);

/* trace(D H D^T), the squared length of X D^T: of H what is below the diagonal is read, and the diagonal apart. d (rows, n); k of the host's memory. */
double hessian_energy(const struct kernels *k, const double *h, const double *diagonal, const float *d, int64_t rows, int64_t n);

#endif
