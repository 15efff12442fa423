/* A module's weight as the tensors that store it, in the ecosystem's layouts (quantized-model(5)).
 *
 *     encode_module(&x, &options, kernels, "model.layers.0.mlp.up_proj", &tensor, &e)     int8, nf4, fp4, rtn: from the stored weight
 *     encode_grid(&x, &options, "model.layers.0.mlp.up_proj", &grid)                      gptq, awq: from what a solver made
 *     encoded_error(&x, kernels, &tensor)                                                 |W - Q| / |W|
 *     encoded_release(&x)
 * Memory: the result, and of rtn the weight in f32 and its codes. Same bytes for any number of threads. */
#ifndef QUANTIZE_ENCODE_H
#define QUANTIZE_ENCODE_H

#include "format/safetensors.h"
#include "kernels/kernels.h"
#include "quantize/method.h"

#define ENCODED_MAX 6

struct encoded {
    struct st_tensor tensors[ENCODED_MAX]; /* name, type, shape, size, data: owned */
    int n;
    int64_t bytes;          /* of all of them */
    struct quantized view;  /* the same for the operations; points into the tensors */
};

/* weight: as it is stored, F32, F16 or BF16, every element a finite number. */
void encode_module(struct encoded *x, const struct quantize_options *o, const struct kernels *k, const char *module, const struct st_tensor *weight);
void encode_grid(struct encoded *x, const struct quantize_options *o, const char *module, const struct grid *g);
void encoded_release(struct encoded *x);

/* The view of a module that encode_grid() made, from the file that holds its tensors. -1: one is missing or has another type or shape. */
int encoded_view(struct quantized *q, const struct quantize_options *o, const char *module, int64_t out, int64_t in, const struct st_file *f,
                 struct err *e) MUST_CHECK;

/* |W - Q| / |W|, Frobenius norms; 0 where both are zero. */
double encoded_error(const struct encoded *x, const struct kernels *k, const struct st_tensor *weight);

/* Are the zeros of GPTQ stored less one (format "gptq"), or as they are ("gptq_v2")? Less one only where none can be 0. */
bool encode_zeros_less_one(const struct quantize_options *o);

/* Bytes that encode_module() and encode_grid() would give for this shape; of nf4 with nested blocks at most. */
int64_t encoded_size(const struct quantize_options *o, int64_t out, int64_t in);

#endif
