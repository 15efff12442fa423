/* Rotary position embedding: inverse frequencies of every supported scaling and the table that kernels->rope reads.
 *
 *     float inv[D / 2], scaling = rope_frequencies(inv, &config, seq_len);
 *     rope_fill(table + row * D, inv, D, scaling, position)     cos and sin of one position, (D/2, 2)
 *
 * Arithmetic follows transformers (modeling_rope_utils.py) in f32 step by step, because an angle multiplies any error
 * of a frequency by the position. Nothing here fails. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include "model/config.h"

/* inv (head_dim / 2). seq_len: length of the sequence being rotated; only dynamic scaling looks at it: beyond
 * max_position_embeddings the base grows with the length, as it does in transformers for one sequence. Returns the
 * attention scaling, the factor of every cos and sin (1 except for yarn). */
float rope_frequencies(float *inv, const struct model_config *c, int64_t seq_len);

/* cos_sin (head_dim / 2, 2) = scaling * (cos, sin) of position * inv[i]. */
void rope_fill(float *cos_sin, const float *inv, int head_dim, float scaling, int64_t position);

#endif
