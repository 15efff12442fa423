/* generation_config.json: how the makers of a model want it to be sampled.
 * Keys and defaults: transformers generation/configuration_utils.py. Without the file: greedy, and config.json's eos_token_id.
 * do_sample false means greedy whatever else is there; do_sample true without top_k means top_k 50. */
#ifndef MODEL_GENERATION_CONFIG_H
#define MODEL_GENERATION_CONFIG_H

#include <stddef.h>

#include "model/config.h"
#include "model/sampler.h"

struct generation_config {
    struct sampler_options sampler; /* seed is left 0 */
    int64_t max_new_tokens;         /* 0: not given */
    int n_stop;
    int32_t stop[MODEL_EOS_MAX];
};

/* Reads DIR/generation_config.json; `c` gives the end tokens where the file does not. */
int generation_config_read(struct generation_config *g, const char *dir, const struct model_config *c, struct err *e) MUST_CHECK;
int generation_config_parse(struct generation_config *g, const char *json, size_t len, const char *name, const struct model_config *c,
                            struct err *e) MUST_CHECK;

#endif
