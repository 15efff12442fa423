/* The tensors that hold a quantized module's weight, and the check of them.
 *
 * Which layout a module has is told by which tensors are there: under a configuration of bitsandbytes
 * `M.weight.quant_state.bitsandbytes__nf4` (or fp4) or `M.SCB`, under one of GPTQ or AWQ `M.qweight`; else the module is stored plain. */
#ifndef FORMAT_QUANTIZED_TENSORS_H
#define FORMAT_QUANTIZED_TENSORS_H

#include "base/quantized.h"
#include "format/model_folder.h"
#include "format/quantized_config.h"

#define QUANTIZED_TENSORS_MAX 8

/* 1: `module` ("model.layers.0.self_attn.q_proj") of shape (out, in) is quantized; q points into the folder's map, and
 * used[0 .. *n_used - 1] are all tensors that belong to its weight, the first the codes. 0: it is not; nothing is filled. -1: tensors are
 * missing, or have other types or shapes, or hold what no file may hold (group indices outside, a map or scale that is not finite): the
 * message names folder, tensor, what was found and expected.
 *
 * A g_idx that says i / group, and one of zeros where there are several groups (which stands for it), come as NULL. */
int quantized_tensors_find(struct quantized *q, const struct st_tensor *used[QUANTIZED_TENSORS_MAX], int *n_used, const struct model_folder *f,
                           const struct quantized_config *c, const char *module, int64_t out, int64_t in, struct err *e) MUST_CHECK;

/* Do the elements of `t` mean nothing by themselves? True of the codes of NF4 and FP4 that are stored under another type's name
 * (bnb_4bit_quant_storage), which may look like numbers that are not finite. Its map is looked for in `f` and `file`; either may be NULL. */
bool quantized_tensors_is_packed(const struct model_folder *f, const struct st_file *file, const struct st_tensor *t);

/* "int8", "nf4", "fp4", "gptq", "awq". */
const char *quantized_kind_name(enum quantized_kind k);

#endif
