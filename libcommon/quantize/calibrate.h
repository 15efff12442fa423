/* The walk of calibration samples through the decoder's layers: the hidden states of all tokens are held, one layer after the other runs
 * over them, and who calibrates sees the inputs of its linears.
 *
 *     c = calibrate_open(model, tokens, 0, stop, e)
 *     for each layer: calibrate_use(c, layer)               the model's layer has these weights, until calibrate_restore or the next
 *         either calibrate_stage(c, i, CALIBRATE_QKV, sink, arg) ... CALIBRATE_DOWN, each once and in this order: what a stage computes it computes
 *                with the weights as they are then, so that modules can be quantized between stages
 *         or     calibrate_inputs(c, i, sinks, arg)         all inputs with the weights as they are, any number of times
 *         then   calibrate_advance(c, i)                    to the inputs of the next layer
 *     calibrate_close(c)
 *
 * Both ways give the same hidden states, bit for bit, when the weights are the same in the end: a run that is taken up again advances
 * through the layers that are done. Samples are packed whole, some CALIBRATE_ROWS rows at a time, and never see each other; a stage's parts
 * come in order and are the same for any number of threads. Functions that compute return 1 when `stop` said so (the state is then
 * lost), else 0. */
#ifndef QUANTIZE_CALIBRATE_H
#define QUANTIZE_CALIBRATE_H

#include "quantize/method.h"

#define CALIBRATE_ROWS 2048

/* Which inputs a stage gives out. */
enum calibrate_stage { CALIBRATE_QKV, CALIBRATE_O, CALIBRATE_GATE_UP, CALIBRATE_DOWN, CALIBRATE_STAGES };

/* The linears that have a stage's inputs: first .. end - 1. */
struct calibrate_span {
    int first, end;
};
extern const struct calibrate_span CALIBRATE_SPANS[CALIBRATE_STAGES];

struct calibrate;

/* x (rows, inputs of the stage's linears), device memory */
typedef void calibrate_sink(void *arg, const float *x, int64_t rows);

/* most > 0: samples evenly spread over the file, as many as have together at most that many tokens (and at least one). Ids outside
 * the vocabulary are errors. m and t live until close. The walk is k's; m is of the host's memory, and so are the layers that are used. */
struct calibrate *calibrate_open(struct model *m, const struct kernels *k, const struct token_file *t, int64_t most, int (*stop)(void), struct err *e) MUST_CHECK;
void calibrate_close(struct calibrate *c); /* NULL is fine; restores */
int64_t calibrate_tokens(const struct calibrate *c);
int64_t calibrate_bytes(const struct model *m, const struct kernels *k, const struct token_file *t, int64_t most); /* device memory of a walk */

void calibrate_use(struct calibrate *c, const struct quantize_layer *l);
/* Of a layer in use, or one that differs from it in these linears alone: they changed. */
void calibrate_use_linears(struct calibrate *c, const struct quantize_layer *l, int first, int end);
void calibrate_restore(struct calibrate *c);

/* Of a walk of all samples (most 0). sink NULL: only computed. */
int calibrate_stage(struct calibrate *c, int layer, enum calibrate_stage stage, calibrate_sink *sink, void *arg, struct err *e) MUST_CHECK;
/* sinks[CALIBRATE_QKV] ... sinks[CALIBRATE_DOWN] take args[...]. */
int calibrate_inputs(struct calibrate *c, int layer, calibrate_sink *const sinks[CALIBRATE_STAGES], void *const args[CALIBRATE_STAGES]) MUST_CHECK;
int calibrate_advance(struct calibrate *c, int layer) MUST_CHECK;
bool calibrate_stopped(const struct calibrate *c); /* for work between stages: has `stop` said so? */

const struct kernels *calibrate_device(const struct calibrate *c);
float *calibrate_products(const struct calibrate *c); /* for struct hessian; NULL where the device's memory is the host's */

/* The inputs of a layer: hidden states (tokens, C), device memory, and the samples' bounds among them (*n + 1). For searches that run parts of a layer. */
const float *calibrate_states(const struct calibrate *c);
const int64_t *calibrate_bounds(const struct calibrate *c, int *n);

/* For searches that run a block of the layer again and again: the first samples' rows, one pack. Both write what the block adds to the
 * residual, (rows, C), host memory: attention from the layer's inputs, the feed-forward from x2, the residual after attention. */
int64_t calibrate_try_rows(const struct calibrate *c);
void calibrate_try_attention(struct calibrate *c, int layer, float *out);
void calibrate_try_mlp(struct calibrate *c, int layer, const float *x2, float *out);

#endif
