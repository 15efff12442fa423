/* The training loop: from a fresh start or the newest checkpoint to the finished folder, or to a stop that can be resumed.
 *
 *     struct train_job j = {...};  train_run(&j, &result, &e)
 *
 * Everything is opened, checked, planned and committed before. A step: the gradient of its objective (forward and
 * backward over its packs), clipping, the optimizer, one line of the log; then, when due, an
 * evaluation and a checkpoint. A stop is looked for between layers; the step in hand is then given up, not half made.
 * A loss or a gradient that is no finite number ends the run before it reaches a weight. */
#ifndef TRAIN_LOOP_H
#define TRAIN_LOOP_H

#include "train/batches.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/options.h"
#include "train/plan.h"
#include "train/run_folder.h"
#include "train/schedule.h"

/* What is trained: model/lora.h or model/weights_train.h behind four functions. */
struct train_subject {
    void *arg;
    int (*start)(void *arg, uint64_t seed, struct err *e);                       /* values in place */
    int (*save)(void *arg, const char *dir, const char *provenance, struct err *e);
    const char *last_file;                                                       /* makes the folder loadable */
};

struct train_job {
    const struct train_options *o;
    struct model *model;
    const struct token_file *train, *eval; /* eval may be NULL */
    struct optimizer *optimizer;
    struct plan *plan;
    struct batches *batches;
    struct schedule schedule;
    struct run_folder *folder;
    struct train_subject subject;
    const struct train_objective *objective;
    const char *tool, *run, *provenance;
    const char *log_path, *log_default; /* log_default: where the log of the run so far may lie instead */
    uint64_t seed;
    int (*stop)(void);
    run_say *say, *warn;
    void (*begun)(void *arg, int64_t from, int64_t total); /* everything is in place, the first step comes next */
    void *begun_arg;
    void (*progress)(int64_t step, int64_t tokens, const char *note);
};

enum train_outcome { TRAIN_DONE, TRAIN_STOPPED, TRAIN_DIVERGED };

struct train_result {
    enum train_outcome outcome;
    int64_t step, first_step;     /* where it stands; where this process began */
    int64_t tokens;               /* rows computed by this process */
    double loss, eval_loss;       /* of the last step; NaN when there was none */
    int64_t kept;                 /* TRAIN_DIVERGED: step of the newest checkpoint, -1: there is none */
    char why[300];                /* and what was found */
};

int train_run(struct train_job *j, struct train_result *r, struct err *e) MUST_CHECK;

#endif
