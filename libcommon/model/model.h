/* A decoder-only transformer: weights, adapters, forward and backward.
 *
 *     model_open()            maps a model folder, checks every tensor's name, shape and type
 *     model_new()             the same structure from a configuration alone, without weights
 *     model_add_adapter()     PEFT LoRA folders, applied without merging (any number)
 *     lora_new()              fresh LoRA pairs to train; or model_train_weights() for full training
 *     decoder_plan()          sizes of the activation arena for packs of at most N rows
 *     decoder_forward_backward() for each pack of a step, decoder_end_step() / decoder_loss() / decoder_forward(), decoder_scores()
 *
 * Weights stay in the mapped file in their stored type, also quantized ones (or are copied as they are, for many short passes: model_copy_weights);
 * small vectors (norms, biases) are copied to f32 at opening. In full
 * training a weight that is trained is an f32 master copy in `struct param` and the view below points to it. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/arena.h"
#include "base/dtype.h"
#include "base/err.h"
#include "format/quantized_config.h"
#include "kernels/kernels.h"
#include "model/config.h"

/* One tensor that is trained. Owned by the model or the adapter; the optimizer keeps m and v beside it. */
struct param {
    char *name;            /* as it is stored: a model tensor's name or PEFT's key */
    float *value, *grad;   /* numel each, in the training arena */
    int64_t numel;
    int ndim;
    int64_t shape[2];
    bool embedding;        /* the embedding of the tokens */
    bool decay;            /* weight decay applies: neither a bias nor a norm (transformers' get_decay_parameter_names) */
};

/* One LoRA pair: y += scale * B (A dropout(x)).  A (R, in), B (out, R), f32. */
struct lora {
    int rank;
    float scale, dropout;
    float *a, *b;
    struct param *pa, *pb; /* NULL when frozen */
    uint64_t stream;       /* dropout stream of this module */
    struct lora *next;     /* further adapters on the same module add their terms in order */
};

struct lora_grid;

/* y = x W^T + bias (+ LoRA terms).  W (out, in). */
struct linear {
    char *module;                /* "model.layers.0.self_attn.q_proj" */
    int64_t out, in;
    const void *weight;          /* NULL when quantized */
    enum dtype type;
    struct quantized *quantized; /* the weight as a quantized folder stores it; NULL: stored as `type`. Owned. Frozen */
    float *bias;                 /* (out) f32 or NULL */
    struct param *pw, *pbias;    /* NULL: frozen */
    struct lora *lora;
    bool to_grid;                /* quantized: y = x Q(W + sum of scale B A)^T + bias, Q: kernels.h, requantize. Training; no dropout */
    struct lora *in_grid;        /* frozen pairs that `quantized` holds already, brought to W's grid with it; made (model/lora_grid.c) */
    struct lora_grid *made;      /* memory of that */
};

struct norm {
    char *name;                  /* "model.layers.0.input_layernorm.weight" */
    float *weight;               /* f32 */
    struct param *pw;
};

struct layer {
    struct norm attn_norm, mlp_norm; /* (C) */
    struct norm q_norm, k_norm;      /* (D) or weight NULL */
    struct linear q, k, v, o;        /* (H*D, C) (G*D, C) (G*D, C) (C, H*D) */
    struct linear gate, up, down;    /* (F, C) (F, C) (C, F) */
};

struct model {
    struct model_config config;
    const struct kernels *k;
    struct quantized_config quantized; /* what the folder says; each module's own is in its struct linear */
    struct model_folder *folder;     /* format/model_folder.h; mapped weights live as long as this */
    struct linear embed;             /* table (V, C); only weight, type, pw are used */
    struct linear head;              /* (V, C); the same data as embed when tied */
    struct norm norm;                /* final */
    struct layer *layers;
    void *copied;                    /* model_copy_weights; NULL: mapped */
    size_t copied_bytes;
    bool bf16;                       /* --dtype bf16: products of rounded factors */
    bool untied;                     /* config.json says tied, the weights say otherwise: model/weights_tie.h */
    char *warning;                   /* one line for the user about the folder, or NULL */
    struct param **params;           /* everything trained, in a fixed order (stored name, bytewise) */
    int n_params;
};

struct model *model_open(const char *dir, const struct kernels *k, struct err *e) MUST_CHECK;
/* Reads every weight of an opened model; an error names the first tensor that holds a NaN or an infinity. When `stop` (may be NULL) answers
 * other than 0, the rest is not read. */
int model_check_finite(const struct model *m, int (*stop)(void), struct err *e) MUST_CHECK;
/* Names and shapes as `config` (taken over) says, no folder: norms and biases exist and are zero, the matrices of linears are
 * NULL until full training points them at masters (full-train --init). */
struct model *model_new(struct model_config *config, const struct kernels *k, struct err *e) MUST_CHECK;
/* Frees frozen pairs too; trained ones are detached before (model/lora.h, model/weights_train.h). NULL is fine. */
void model_close(struct model *m);
/* Copies the matrices of an opened model into device memory, when they take at most `limit` bytes and the memory is there; else
 * nothing changes. The host's is in huge pages: a pass over few rows, which only waits for weights, takes about two thirds of the
 * time that it takes over a file's small pages. The copy itself costs about as much as ten such passes. */
bool model_copy_weights(struct model *m, size_t limit);
/* Where device memory is not the host's, the matrices that are not trained have to be there before the first pass: who commits a plan or makes a
 * cache calls this. Once; nothing on the CPU. */
int model_place_weights(struct model *m, struct err *e) MUST_CHECK;
size_t model_placed_bytes(struct model *m); /* what that takes or will take */
/* --dtype: f32, bf16 (products of rounded factors), or auto: bf16 where the hardware multiplies it, else f32. */
void model_set_dtype(struct model *m, const char *dtype);

/* Calls fn for every linear module in model order (layers' q k v o gate up down, then lm_head when `with_head`). */
int model_each_linear(struct model *m, bool with_head, int (*fn)(struct linear *l, void *arg), void *arg);

/* Two branches behind one beginning: the rows at .. end - 1 of a sample are the first, those from `end` on the second, whose positions go
 * on from `at` as well. A branch sees the rows before `at` and its own. Both 0: no fork. */
struct batch_fork {
    int64_t at, end;          /* 0 <= at < end < rows of the sample */
};

/* A pack of samples. Host memory. */
struct batch {
    int64_t n;                /* rows */
    const int32_t *ids;       /* (n) */
    const int32_t *targets;   /* (n) next token where it is trained, else -1 */
    int n_seq;
    const int64_t *start;     /* (n_seq + 1) */
    int64_t row0;             /* index of row 0 within the whole optimizer step (dropout draws are keyed by it) */
    const struct batch_fork *forks; /* (n_seq); NULL: none */
};

/* What backward needs of a layer's forward pass: kept; not kept but for the layer's input, and computed again; or kept in the host's memory, from which a device
 * fetches it (kernels/transfer.h). No bit of a result depends on it. */
enum decoder_keep { DECODER_KEEP, DECODER_RECOMPUTE, DECODER_OFFLOAD };

/* Activation memory of one pass over at most max_rows rows of max_seq samples. Laid out in `a` (see base/arena.h); backward false: evaluation only. What is
 * trained must be known (pw, pbias, pa, pb set) when the decoder is made: it keeps activations only where backward passes. */
struct decoder;
struct decoder *decoder_new(struct model *m, int64_t max_rows, int max_seq, bool backward, enum decoder_keep keep);
int64_t decoder_score_rows(const struct decoder *d); /* rows of the output layer at a time */
void decoder_layout(struct decoder *d, struct arena *a); /* call twice, as base/arena.h says */
/* Behind the layout, with DECODER_OFFLOAD: memory of the host that it takes, and taking it. */
size_t decoder_host_bytes(const struct decoder *d);
int decoder_take_host(struct decoder *d, struct err *e) MUST_CHECK;
void decoder_free(struct decoder *d);

struct decoder_result {
    double loss_sum;      /* over trained targets */
    int64_t trained;      /* their count */
    bool stopped;         /* decoder_set_stop asked for it: nothing else here, and no gradient, means anything */
};

/* Asked between layers and chunks of the output layer; an answer other than 0 ends a pass early. */
void decoder_set_stop(struct decoder *d, int (*stop)(void));

/* A batch that does not fit, ids or targets outside the vocabulary, and broken bounds are errors. Samples never see each
 * other, and every row's bits are the same whatever else is in the batch. Dynamic rotary scaling is that of each sample alone.
 *
 * Loss of the batch and, added to every param's grad, the gradient of loss_sum * grad_scale. seed and step key dropout
 * (seed 0 and dropout 0 in evaluation). */
int decoder_forward_backward(struct decoder *d, const struct batch *b, float grad_scale, uint64_t seed, int64_t step,
                             struct decoder_result *r, struct err *e) MUST_CHECK;
/* After the last batch of a step: only now are all gradients complete. What a batch adds and in which order does not depend on how
 * the step's samples were cut into batches, and neither does any bit of the sum. */
void decoder_end_step(struct decoder *d);
/* What a pass tells of each row that has a target, in the row's place; other rows get 0. Host memory, (n) each, NULL: not wanted. Beyond
 * the loss, which costs nothing, each row costs another look at its scores. */
struct decoder_rows {
    float *loss;          /* -log p(target) */
    float *mean;          /* of the scores */
    float *entropy;       /* of p */
    float *squares;       /* sum over the vocabulary of p^2 */
};

/* Losses of which a row's part depends on other rows: one pass forward, `weigh` is told all rows of the batch and gives the derivative of
 * the loss by each row's loss (weight is zeroed before), and the pass goes back. What weigh returns, when not 0, ends the pass and is
 * returned. rows->loss is wanted. The gradient is the same bits as that of these weights given at once: where the output layer is
 * frozen its rows are scaled afterwards, else the scores are made twice. weigh NULL: forward only, with dropout. */
typedef int decoder_weigh(void *arg, const struct batch *b, const struct decoder_rows *rows, float *weight, struct err *e);
int decoder_weighed(struct decoder *d, const struct batch *b, const struct decoder_rows *rows, decoder_weigh *weigh, void *arg, uint64_t seed,
                    int64_t step, struct decoder_result *r, struct err *e) MUST_CHECK;
/* Evaluation that tells of the rows: no dropout, no gradients. */
int decoder_measure(struct decoder *d, const struct batch *b, const struct decoder_rows *rows, struct decoder_result *r, struct err *e) MUST_CHECK;
/* Evaluation: no dropout, no gradients; per_row (n) gets each row's loss when not NULL. */
int decoder_loss(struct decoder *d, const struct batch *b, struct decoder_result *r, float *per_row, struct err *e) MUST_CHECK;
/* One pass without gradients, whose logits decoder_scores then gives, as often as wanted: (n_rows, V) f32 on the host, of chosen rows
 * of that batch (rows NULL: all). sink gets chunks of rows in order; what it returns, when not 0, ends and is returned. */
int decoder_forward(struct decoder *d, const struct batch *b, struct err *e) MUST_CHECK;
int decoder_scores(struct decoder *d, const int32_t *rows, int64_t n_rows,
                   int (*sink)(void *arg, int64_t first, int64_t count, const float *logits), void *arg, struct err *e) MUST_CHECK;

/* The same pass one layer at a time: decoder_start, then every layer in order. Gives the layer's output, (b->n, C) on the device, until the
 * next call; decoder_scores may follow the last one. */
int decoder_start(struct decoder *d, const struct batch *b, struct err *e) MUST_CHECK;
const float *decoder_layer(struct decoder *d, int layer);

/* Floating-point operations (multiply and add counted as 2) that one step over these rows needs. */
double decoder_flops(const struct model *m, int64_t rows, int64_t trained_rows, double attended_pairs, bool backward, bool recompute);

#endif
