/* Trained tensors. param_new() allocates one without memory for its values (the optimizer lays those out). */
#ifndef MODEL_PARAM_H
#define MODEL_PARAM_H

#include "model/model.h"

/* Takes over `name` (heap). shape: ndim sizes, ndim 1 or 2. */
struct param *param_new(char *name, int ndim, int64_t rows, int64_t cols);
void param_free(struct param *p); /* NULL is fine */

/* Weight decay applies unless the name speaks of a bias or a norm (transformers, get_decay_parameter_names). */
bool param_decays(const char *name);

void params_sort(struct param **params, int n); /* by name, bytewise */

/* Index of the first value that is a NaN or an infinity, -1 when none is. */
int64_t floats_find_bad(const float *x, int64_t n);

#endif
