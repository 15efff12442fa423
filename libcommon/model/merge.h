/* Merging LoRA adapters into their base: W' = round(W + sum over adapters of weight * scale * B A), one rounding (nearest
 * even) to the stored type, f32 sums in a fixed order (adapters as given, ranks ascending; no fused multiply-add), so
 * the bytes do not depend on threads or on the CPU. Trained biases are mixed: b + sum of weight * (trained - b).
 *
 *     m = merge_open(&options, &err);           opens and checks everything; nothing is written
 *     merge_plan(m)                             what would be written
 *     merge_write(m, dir, provenance, &err)     streams tensor by tensor into the existing folder `dir`
 *     merge_close(m)
 *
 * Memory: some megabytes of blocks, whatever the adapters (requantize: one module in f32 and as it is stored); mapped pages are given back as they are done with.
 * Damage: what carries checksums is compared with them as it is read; what is different is an error that names the tensor.
 * A base whose weights are quantized (base/quantized.h) becomes one of three things:
 *   its values plus the deltas, rounded to a plain type (the default)
 *   `base16`: another folder, the model from which it was quantized, plus the deltas
 *   `requantize`: values plus deltas, brought to the nearest that each module's own layout and settings can hold (kernels.h, requantize)
 *
 * An output layer tied to the embedding stays so unless an adapter changes either: then lm_head.weight is written of its own and
 * config.json says tie_word_embeddings false. A module whose delta is zero keeps its bytes. */
#ifndef MODEL_MERGE_H
#define MODEL_MERGE_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/err.h"

struct merge_options {
    const char *model;
    const char *const *adapters;
    const double *weights; /* n_adapters */
    int n_adapters;
    int type;              /* enum dtype of the result; -1: every tensor keeps its own, and values of quantized ones get the type of config.json, or bf16 */
    int64_t max_shard;
    const char *base16;    /* folder whose tensors the deltas are added to, `model` being quantized; NULL: `model` itself */
    bool requantize;       /* not with base16 or a type */
};

struct merge_plan {
    int n_tensors, n_changed;  /* n_changed: tensors that get a delta */
    int64_t bytes;             /* of tensors */
    int64_t largest;           /* bytes of the largest tensor */
    int64_t module;            /* bytes that the largest requantized module takes in memory */
    bool untied;               /* lm_head.weight is split from the embedding */
    const char *type;          /* "bfloat16" when config.json must say so, else NULL */
    bool aware;                /* an adapter that was trained for --requantize is merged otherwise */
    int64_t code_bytes, moved_bytes; /* after merge_write: codes that were made again, and how many of their bytes differ from the base's */
    const char *warning;       /* about the base, for the user; NULL: none */
};

struct merge;
struct merge *merge_open(const struct merge_options *o, struct err *e) MUST_CHECK;
struct merge_plan merge_plan(const struct merge *m);
/* tool and options (JSON or NULL) go into the provenance beside the hashes of what was merged. progress (may be NULL) is called with
 * the bytes written so far; a return of non-zero stops. */
int merge_write(struct merge *m, const char *dir, const char *tool, const char *options, int (*progress)(int64_t bytes), struct err *e) MUST_CHECK;
void merge_close(struct merge *m); /* NULL is fine */

#endif
