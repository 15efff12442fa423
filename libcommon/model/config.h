/* config.json -> the architectural choices of one decoder.
 *
 * Facts and defaults: the families' config classes in transformers (see the comment at each row of the table in
 * config.c). A model_type that is not in the table, a size that is missing (vocab_size, hidden_size, intermediate_size,
 * num_hidden_layers, num_attention_heads), or a field that would change the arithmetic and is not understood, is an error that
 * names the field. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN };

struct rope_config {
    enum rope_type type;
    double theta, factor;
    double low_freq_factor, high_freq_factor;            /* llama3 */
    double original_max_positions;                       /* llama3, yarn; 0: absent */
    double beta_fast, beta_slow, attention_factor, mscale, mscale_all_dim; /* yarn; attention_factor 0: absent */
    bool truncate;                                       /* yarn */
};

#define MODEL_EOS_MAX 16

struct model_config {
    char type[32];               /* llama, mistral, qwen2, qwen3 */
    int64_t vocab, hidden, ffn, max_positions;
    int layers, heads, kv_heads, head_dim;
    double rms_eps, init_range;
    bool tied;                   /* the output layer is the embedding */
    bool qkv_bias, o_bias, mlp_bias;
    bool qk_norm;                /* RMSNorm over each q and k head before the rotation (Qwen3) */
    int64_t window;              /* sliding window, 0: none */
    uint64_t *window_layers;     /* bit set: this layer is windowed; NULL: every layer when window > 0. Owned. */
    struct rope_config rope;
    int bos, n_eos, eos[MODEL_EOS_MAX]; /* -1 / 0: absent */
    int stored_type;             /* enum dtype of "torch_dtype" / "dtype", -1: absent */
};

int model_config_read(struct model_config *c, const char *dir, struct err *e) MUST_CHECK;
int model_config_parse(struct model_config *c, const char *json, unsigned long len, const char *name, struct err *e) MUST_CHECK;
void model_config_release(struct model_config *c);

int64_t model_config_window(const struct model_config *c, int layer); /* 0: full attention */
int64_t model_config_context(const struct model_config *c);           /* longest sequence: dynamic rotary scaling stretches it by its factor */
int64_t model_config_parameters(const struct model_config *c);        /* count of stored weights */

#endif
