/* The objective of dpo-train: losses of pairs or labelled answers (train/preference.h) over the packs of a step.
 *
 *     preference_step_init(&o, &p, context, room)      room: rows of the largest pack
 *     o.ref = ..., o.eval_ref = ...                    when preference_needs says so; borrowed
 *     preference_objective(&o)                         for the loop; preference_step_release(&o)
 *
 * A step whose derivatives need its own sums, and which is more than one pack, is passed forward once more before. Neither the loss nor any
 * bit of the gradient depends on how a step is cut into packs. */
#ifndef TRAIN_PREFERENCE_STEP_H
#define TRAIN_PREFERENCE_STEP_H

#include "format/ref_logprobs.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/preference.h"
#include "train/preference_pack.h"

/* What the log tells: the metrics of the losses, then what the rows' scores tell, then the terms of a sum of losses. */
enum {
    TELL_LOGITS_CHOSEN = PREFERENCE_METRICS, TELL_LOGITS_REJECTED, TELL_ENTROPY, TELL_TERMS, TELL_ALL = TELL_TERMS + PREFERENCE_LOSSES
};

/* Sums of what steps told, and how many did. */
struct preference_tally {
    double sum[TELL_ALL];
    int64_t count[TELL_ALL];
};

struct preference_step {
    const struct preference *p;
    struct preference_needs needs;
    int64_t context;
    const struct ref_logprobs *ref, *eval_ref;
    bool check_start;               /* the reference is the model as it starts, and nothing is drawn: the first step must show it */
    /* TR-DPO (Gorbatovski et al. 2024, arXiv 2404.09656): after every so many steps the reference moves towards the model; from then on its
     * log-probabilities are computed beside the model's. 0: never */
    int64_t sync_every;
    double sync_mix;
    const struct optimizer *optimizer; /* keeps the reference's values, when sync_every is not 0 */
    const struct kernels *k;        /* with check_start or sync_every */
    int64_t done, number;           /* steps made, the one in hand */
    struct preference_state state, next;
    struct preference_tally log, eval;
    double step[TELL_ALL];          /* of the step in hand; NAN: it has none */
    struct decoder_rows rows;       /* (room) each */
    struct step_work *work;
};

void preference_step_init(struct preference_step *o, const struct preference *p, int64_t context, int64_t room);
void preference_step_release(struct preference_step *o);
struct train_objective preference_objective(struct preference_step *o);

#endif
