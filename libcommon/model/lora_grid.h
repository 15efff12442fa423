/* Frozen pairs that stand for a weight on the grid of the quantized one which they change (adapters of lora-train --merge-aware): the module computes
 * with that weight, whose bits are those that adapter-merge --requantize writes. */
#ifndef MODEL_LORA_GRID_H
#define MODEL_LORA_GRID_H

#include "model/model.h"

/* Makes l->quantized what W and the pairs of l->in_grid are together, W being what it was without them. */
int lora_fill_grid(struct model *m, struct linear *l, struct err *e) MUST_CHECK;
int64_t lora_grid_bytes(const struct linear *l);              /* that this takes, 0 without such pairs */
void lora_grid_free(const struct kernels *k, struct lora_grid *g); /* NULL is fine */

#endif
