/* Generation: keys and values of past positions, and one forward pass over new tokens of several sequences.
 *
 *     struct kv_cache *c = kv_cache_new(model, max_sequences, max_positions, &err);
 *     kv_forward(c, in, n, logits, &err)   entry i feeds n_ids new tokens of sequence in[i].slot; logits row i is of its last one
 *     kv_cache_free(c)
 *
 * A sequence's logits are the same bits whatever else is in the batch (see MATMUL_FEW_ROWS in kernels.h): entries of few tokens
 * run together, up to MATMUL_FEW_ROWS tokens at once, and so do longer ones (prompts), up to KV_PREFILL_ROWS tokens at once. Adapters on the model apply; nothing is dropped. Dynamic rotary scaling follows the length of the sequence at the
 * end of the call, and keys already cached keep their rotation, as in transformers. */
#ifndef MODEL_KV_H
#define MODEL_KV_H

#include "model/model.h"

#define KV_PREFILL_ROWS 512

struct kv_cache;

struct kv_input {
    int slot;               /* 0 .. max_sequences-1, each at most once in a call */
    const int32_t *ids;
    int64_t n_ids;
};

struct kv_cache *kv_cache_new(struct model *m, int max_sequences, int64_t max_positions, struct err *e) MUST_CHECK;
void kv_cache_free(struct kv_cache *c);
void kv_cache_reset(struct kv_cache *c, int slot);               /* forget the sequence */
int64_t kv_cache_length(const struct kv_cache *c, int slot);
void kv_cache_truncate(struct kv_cache *c, int slot, int64_t length); /* keep the first `length` positions */
size_t kv_cache_bytes(struct model *m, int max_sequences, int64_t max_positions); /* all that kv_cache_new takes at most */
/* logits (n, V), host. Empty entries, ids outside the vocabulary and sequences that grow beyond max_positions are errors,
 * found before anything is computed. */
int kv_forward(struct kv_cache *c, const struct kv_input *in, int n, float *logits, struct err *e) MUST_CHECK;

#endif
