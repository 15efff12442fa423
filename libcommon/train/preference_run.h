/* dpo-train's part of a training command (train/command.h): the reference, which it finds, reuses or computes, and the objective.
 *
 *     struct preference_run r = {.options = PREFERENCE_DEFAULTS, ...};     the tool's option table fills it
 *     preference_run_init(&r, e)                                           parses and checks
 *     command.method = preference_run_method(&r)
 *
 * Files in OUT: ref-logprobs and eval-ref-logprobs, reused whenever they fit. */
#ifndef TRAIN_PREFERENCE_RUN_H
#define TRAIN_PREFERENCE_RUN_H

#include "train/command.h"
#include "train/preference_reference.h"
#include "train/preference_step.h"

struct preference_run {
    struct preference_options options;
    const char *ref_model;          /* --ref-model; NULL: the model as training starts */
    const char *ref_logprobs;       /* --ref-logprobs; NULL: OUT/ref-logprobs, computed when it does not fit */
    const char *adapter;            /* training goes on from it */
    int64_t sync_every;             /* --sync-ref; 0: never */
    double sync_mix;                /* --sync-mix */
    int64_t rows;
    double dropout;
    /* filled here */
    struct preference p;
    struct preference_needs needs;
    struct preference_source source;
    struct preference_look look[2]; /* of the data trained on, and of --eval */
    struct ref_logprobs *ref[2];
    struct preference_step step;
};

int preference_run_init(struct preference_run *r, struct err *e) MUST_CHECK;
struct train_method preference_run_method(struct preference_run *r);
/* --write-ref: the reference of the token file `data` to `path`. memory: bytes that may be used, 0: what there is. plan: NULL, or what it
 * would take is appended there and nothing is written. An exit status, or -1. */
int preference_run_write(struct preference_run *r, const char *data, const char *path, int64_t memory, struct buf *plan, struct err *e) MUST_CHECK;

#endif
