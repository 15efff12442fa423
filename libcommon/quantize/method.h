/* One layer of the decoder as the methods of quantization see it, and what a method that calibrates gives.
 *
 * The run (quantize/run.h) goes through the layers in order. For each it makes a struct quantize_layer from the stored
 * weights; methods that need no data then encode each module by itself (quantize/encode.h), the others solve it
 * (quantize/solver.h). All memory in the layer is the run's. Sizes have been checked: see quantize_check_shape(). */
#ifndef QUANTIZE_METHOD_H
#define QUANTIZE_METHOD_H

#include "format/token_file.h"
#include "model/layer.h"
#include "quantize/grid.h"

enum quantize_method { QUANTIZE_INT8, QUANTIZE_NF4, QUANTIZE_FP4, QUANTIZE_RTN, QUANTIZE_GPTQ, QUANTIZE_AWQ };

/* What the bytes of the result depend on. */
struct quantize_options {
    enum quantize_method method;
    int bits;                /* rtn, gptq: 2, 3, 4, 8; awq: 4 */
    int64_t group;           /* rtn, gptq, awq: inputs a group; 0: one for all */
    int64_t block;           /* nf4, fp4: elements a block */
    bool nested;             /* nf4, fp4: --double-quant */
    bool sym;                /* rtn, gptq */
    double threshold;        /* int8: of outliers, for config.json */
    const char *skip;        /* regex of modules that stay as they are; NULL: none */
    /* gptq */
    bool act_order;          /* columns by descending diagonal of the Hessian; stored g_idx is not monotone */
    bool true_sequential;    /* k, v, q, then o, then up, gate, then down, each after what was quantized before it */
    double damp;             /* share of the diagonal's mean that is added to it */
    /* awq */
    bool no_scale, no_clip;  /* leave the search of scales, of clipping, out */
};

/* A vector that a method may change: norms and biases. */
struct quantize_vector {
    float *value;            /* NULL: the layer has none */
    int64_t n;
    enum dtype type;         /* as which it is stored: what is stored is rounded to it */
};

struct quantize_module {
    const char *name;        /* "model.layers.0.self_attn.q_proj" */
    int64_t out, in;
    enum dtype type;         /* of the stored weight */
    bool kept;               /* stays in float (--skip): no grid, but its weight may be changed as AWQ's scales want it */
    float *weight;           /* (out, in). In: as stored. After solve: what the grid gives back, or the changed weight of a kept one */
    struct quantize_vector bias;
    struct grid grid;        /* the result; solve calls grid_init() */
    double weight_error;     /* |W - Q| / |W| (Frobenius) of what was rounded: of the scaled weight with AWQ */
    double output_error;     /* |X W' - X Q'| / |X W'| over the calibration's inputs X of this module */
    double damp;             /* gptq: the share that was added in the end; else NaN */
};

struct quantize_layer {
    int index;
    struct quantize_module modules[LAYER_LINEARS]; /* LAYER_Q ... */
    struct quantize_vector attn_norm, mlp_norm, q_norm, k_norm;
};

const char *quantize_method_name(enum quantize_method m); /* "gptq" */

/* Can this module be stored so? Groups, words and blocks that do not come out even are errors that name it. */
int quantize_check_shape(const struct quantize_options *o, const char *module, int64_t out, int64_t in, struct err *e) MUST_CHECK;

#endif
