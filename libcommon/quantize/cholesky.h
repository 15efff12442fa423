/* The triangular factor that GPTQ works with, in double: U upper triangular with H^-1 = U^T U, for a symmetric positive definite H.
 *
 * H = R R^T with R upper triangular (Cholesky's factorization begun at the last row), and U = R^-1: one factorization and one triangular
 * inverse, in place, instead of the three steps factor, invert, factor again of the papers' code (Golub and Van Loan, Matrix
 * Computations, 4.2 and 3.1). Threads take rows; every element is summed in a fixed order. */
#ifndef QUANTIZE_CHOLESKY_H
#define QUANTIZE_CHOLESKY_H

#include <stdint.h>

#include "base/err.h"

/* h (n, n): the upper triangle with the diagonal is read, and becomes U; what is below the diagonal stays. -1: H is not positive definite
 * to the precision of double, and the upper triangle holds nothing of use. */
int cholesky_inverse_factor(double *h, int64_t n) MUST_CHECK;

#endif
