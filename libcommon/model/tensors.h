/* Every stored tensor of a model, in model order, with the place in struct model that holds it.
 *     struct model_tensor *t = model_list_tensors(m, &n); ... model_free_tensors(t, n);
 * A tied output layer is not listed: it is the embedding. */
#ifndef MODEL_TENSORS_H
#define MODEL_TENSORS_H

#include "model/model.h"

enum tensor_kind { TENSOR_WEIGHT, TENSOR_BIAS, TENSOR_NORM };

struct model_tensor {
    char *name;
    enum tensor_kind kind;
    struct linear *l;    /* TENSOR_WEIGHT, TENSOR_BIAS */
    struct norm *norm;   /* TENSOR_NORM */
    int ndim;
    int64_t rows, cols;  /* cols 1 when ndim is 1 */
};

struct model_tensor *model_list_tensors(struct model *m, int *n);
void model_free_tensors(struct model_tensor *t, int n);

#endif
