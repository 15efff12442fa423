/* optimizer.safetensors of a checkpoint: the f32 value, first and second moment of every trained tensor, under
 * "NAME.master", "NAME.exp_avg" and "NAME.exp_avg_sq" (torch's words), or with moments in 8 bits "NAME.master", "NAME.state1",
 * "NAME.state2", "NAME.absmax1" and "NAME.absmax2" (bitsandbytes'), and "NAME.reference" where it is kept. Reading back gives the same bits. */
#ifndef TRAIN_OPTIMIZER_STATE_H
#define TRAIN_OPTIMIZER_STATE_H

#include "train/optimizer.h"

int optimizer_state_save(const struct optimizer *o, const struct kernels *k, const char *dir, struct err *e) MUST_CHECK;
int optimizer_state_load(struct optimizer *o, const struct kernels *k, const char *dir, struct err *e) MUST_CHECK; /* names and shapes must be these exactly */

#endif
