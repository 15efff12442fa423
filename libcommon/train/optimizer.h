/* The optimizer: AdamW over every trained tensor, its moments in f32 or in 8 bits, and clipping by the global norm.
 *
 *     optimizer_init(&o, params, n);  optimizer_layout(&o, &arena)   (twice, see base/arena.h)
 *     each step: optimizer_zero_grad(); [backward adds to params[i]->grad]; optimizer_step()
 *
 * All values stand in one block, likewise gradients and both moments, so that the ops run over few long arrays; each
 * tensor starts at a multiple of 64 bytes and the gaps stay zero under AdamW. optimizer_layout points
 * params[i]->value and ->grad into the blocks. Nothing is owned but the offsets and the lists.
 *
 * With 8 bits (bitsandbytes' AdamW8bit) a tensor of fewer than 4096 elements keeps moments of f32, and so does an embedding, as in
 * transformers' Trainer. */
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "base/arena.h"
#include "model/model.h"

struct optimizer_options {
    double lr, beta1, beta2, eps, weight_decay, clip; /* clip 0: off */
};

struct optimizer {
    struct param **params;
    int n;
    int64_t *offset;             /* (n + 1) floats */
    float *value, *grad;         /* (offset[n]) each */
    bool eight_bits;             /* set before the layout: moments in 8 bits */
    int64_t *moment;             /* (n + 1) floats: where the moments of f32 are in m and v; a tensor in 8 bits has none there */
    float *m, *v;                /* (moment[n]) each */
    struct adamw_tensor *list;   /* (n_list) neighbours of one kind */
    struct clip *clip;           /* (2) of the gradients, and of the values that they gave */
    struct adamw_8bit *eight;    /* (n_eight), in the order of params; the largest magnitudes follow one another without gaps, and so do the codes */
    int n_eight;
    bool keeps_reference;        /* set before the layout: a second copy of the values, part of a checkpoint */
    float *reference;
};

void optimizer_init(struct optimizer *o, struct param **params, int n);
void optimizer_layout(struct optimizer *o, struct arena *a);
void optimizer_release(struct optimizer *o);

/* --optimizer: adamw or adamw8bit. Before the layout. */
void optimizer_choose(struct optimizer *o, const char *name);

void optimizer_zero_grad(const struct optimizer *o, const struct kernels *k);
/* One step, from 1: clips the gradients, torch's clip_grad_norm_, and moves the values. The device does all of it before the host knows anything of it. Returns
 * the gradients' norm: when it is no finite number, nothing was changed. *finite: whether all values are now. */
double optimizer_step(const struct optimizer *o, const struct kernels *k, const struct optimizer_options *p, int64_t step, bool *finite);

/* The copy of the values: begins as they are; changes places with them; moves towards them: (1 - mix) reference + mix value. */
void optimizer_begin_reference(const struct optimizer *o, const struct kernels *k);
void optimizer_swap_reference(const struct optimizer *o, const struct kernels *k);
void optimizer_mix_reference(const struct optimizer *o, const struct kernels *k, double mix);

/* What a checkpoint keeps of tensor i, in this order. */
#define OPTIMIZER_PARTS 6
struct optimizer_part {
    const char *name;            /* "master", "exp_avg", ... */
    enum dtype type;
    bool flat;                   /* (count), else of the tensor's shape */
    int64_t count;
    void *data;                  /* device */
};
int optimizer_parts(const struct optimizer *o, int i, struct optimizer_part parts[OPTIMIZER_PARTS]);
int64_t optimizer_saved_bytes(const struct optimizer *o); /* of all parts of all tensors */

/* The first tensor whose gradient holds a NaN or an infinity; NULL when none does. */
const char *optimizer_find_bad_gradient(const struct optimizer *o, const struct kernels *k);
/* The same of the trained weights. */
const char *optimizer_find_bad_value(const struct optimizer *o, const struct kernels *k);

#endif
