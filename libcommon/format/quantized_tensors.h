/* The tensors that hold a quantized module's weight, and the check of them.
 *
 * Which layout a module has is told by which tensors are there: `M.weight.quant_state.bitsandbytes__nf4` (or fp4), `M.SCB`,
 * `M.qweight` with `M.g_idx` or under a configuration of GPTQ, `M.qweight` under one of AWQ; else the module is stored plain. */
#ifndef FORMAT_QUANTIZED_TENSORS_H
#define FORMAT_QUANTIZED_TENSORS_H

#include "base/quantized.h"
#include "format/model_folder.h"
#include "format/quantized_config.h"

#define QUANTIZED_TENSORS_MAX 8

/* 1: `module` ("model.layers.0.self_attn.q_proj") of shape (out, in) is quantized; q points into the folder's map, and
 * used[0 .. *n_used - 1] are all tensors that belong to its weight. 0: it is not; nothing is filled. -1: tensors are missing, or have other
 * types or shapes, or hold what no file may hold (group indices outside, a map or scale that is not finite): the message names folder,
 * tensor, what was found and expected. */
int quantized_tensors_find(struct quantized *q, const struct st_tensor *used[QUANTIZED_TENSORS_MAX], int *n_used, const struct model_folder *f,
                           const struct quantized_config *c, const char *module, int64_t out, int64_t in, struct err *e) MUST_CHECK;

#endif
