/* What a run minimises: the gradient of a step, the same measured on held-out data, and what is told of both. The loop (train/loop.h) knows
 * nothing else of it.
 *
 *     objective_tokens        cross entropy of the trained tokens: lora-train, full-train
 *     train/preference_step.h losses of pairs and labelled answers: dpo-train
 */
#ifndef TRAIN_OBJECTIVE_H
#define TRAIN_OBJECTIVE_H

#include <jansson.h>

#include "train/batches.h"
#include "train/evaluate.h"

/* One optimizer step; everything is borrowed. */
struct objective_step {
    struct decoder *decoder;
    struct pack *pack;
    const struct token_file *data;
    const struct batches_step *batch;
    uint64_t seed;
    int64_t number;            /* from 1 */
};

enum { OBJECTIVE_DONE, OBJECTIVE_STOPPED, OBJECTIVE_NOT_FINITE };

struct train_objective {
    void *arg;
    /* Adds the gradient of the step's loss (all gradients are zero before) and gives the loss; one of the above, -1 on error. */
    int (*gradients)(void *arg, const struct objective_step *s, double *loss, struct err *e);
    /* The same of held-out data. */
    int (*evaluate)(void *arg, struct decoder *d, struct pack *p, const struct token_file *t, struct evaluation *v, struct err *e);
    /* The rest may be NULL, all of it or none. */
    void (*made)(void *arg);                              /* the step's update is done: what it told counts */
    void (*tell)(void *arg, json_t *line);                /* adds what is known of the steps since the last time */
    void (*tell_eval)(void *arg, json_t *line);           /* of the last evaluation */
    void (*note)(void *arg, char *text, size_t size);     /* a few words for the progress line */
    json_t *(*state)(void *arg);                          /* what a checkpoint keeps */
    int (*restore)(void *arg, const json_t *state, struct err *e);
};

extern const struct train_objective objective_tokens;

#endif
