/* Generation: keys and values of past positions, and one forward pass over new tokens of several sequences.
 *
 *     struct kv_cache *c = kv_cache_new(model, max_sequences, max_positions, prefill_rows, &err);
 *     kv_forward(c, seqs, n, logits, &err)   each entry feeds n_ids new tokens of sequence `slot`, logits of its last one
 * A sequence's logits are the same bits whatever else is in the batch (see MATMUL_FEW_ROWS): prompts are prefilled one
 * sequence at a time, decoding runs up to MATMUL_FEW_ROWS sequences at once. */
#ifndef MODEL_KV_H
#define MODEL_KV_H

#include "model/model.h"

struct kv_cache;

struct kv_input {
    int slot;               /* 0 .. max_sequences-1 */
    const int32_t *ids;
    int64_t n_ids;
};

struct kv_cache *kv_cache_new(struct model *m, int max_sequences, int64_t max_positions, struct err *e) MUST_CHECK;
void kv_cache_free(struct kv_cache *c);
void kv_cache_reset(struct kv_cache *c, int slot);               /* forget the sequence */
int64_t kv_cache_length(const struct kv_cache *c, int slot);
void kv_cache_truncate(struct kv_cache *c, int slot, int64_t length); /* keep the first `length` positions */
size_t kv_cache_bytes(const struct model *m, int max_sequences, int64_t max_positions);
/* logits (n, V), host. */
int kv_forward(struct kv_cache *c, const struct kv_input *in, int n, float *logits, struct err *e) MUST_CHECK;

#endif
