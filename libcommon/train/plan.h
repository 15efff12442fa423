/* What a run will need, before it starts: memory to the byte, disk, work.
 *
 *     plan_make(&p, model, optimizer, wish, train, eval, &e)   chooses rows and recomputation, plans the arena
 *     arena_commit(&p.arena), plan_layout(&p, ...)             then the memory is there
 *
 * Rows at once: the largest of 2048, 1024 and 512 whose activations take at most 1 GiB, not more than a step has, and never less than
 * the longest sample to train on. Neither they nor what is recomputed change a bit of the result. */
#ifndef TRAIN_PLAN_H
#define TRAIN_PLAN_H

#include "base/arena.h"
#include "format/token_file.h"
#include "train/optimizer.h"

struct plan_wish {
    int64_t rows;             /* 0: chosen */
    int64_t useful;           /* rows that a step has at most; 0: unknown */
    const char *recompute;    /* auto, none, layer */
    int64_t memory;           /* bytes that may be used */
    int64_t longest, eval_longest; /* rows of the longest sample; 0: its tokens */
    bool offload;             /* activations to the host's memory; not with recompute layer */
};

struct plan {
    struct arena arena;       /* planned, not committed */
    struct decoder *decoder;
    struct model *model;
    int64_t rows;             /* of a pack of samples */
    int64_t longest, room;    /* the longest sample, computed by itself when it has more rows; the most of both */
    bool recompute;
    int64_t host;             /* bytes of the host's memory for activations that leave the device; 0: none */
    int64_t weights;          /* bytes of the mapped files, or, where device memory is not the host's, of what is copied there */
    int64_t buffers;          /* bytes outside the arena: those of the operations and, in the host's memory, the program, packs, the order of samples */
    int64_t work;             /* of these, work space of the backend's products */
    int64_t fixed;            /* of these, what does not depend on the rows */
    int64_t held;             /* by the context and the libraries of the device's backend */
    int64_t peak;             /* arena + weights + buffers + held, in device memory */
};

/* optimizer NULL: evaluation only. eval may be NULL. Longer samples than the model has positions are refused, and offload where device memory is
 * the host's. */
int plan_make(struct plan *p, struct model *m, struct optimizer *o, const struct plan_wish *w, const struct token_file *train,
              const struct token_file *eval, struct err *e) MUST_CHECK;
/* Bytes that may be used: `asked`, or, when that is 0, what the device has left now, with what its backend holds; negative: unknown. */
int64_t plan_memory(const struct kernels *k, int64_t asked);
int plan_commit(struct plan *p, struct optimizer *o, struct err *e) MUST_CHECK;
void plan_release(struct plan *p);

#endif
