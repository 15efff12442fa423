/* What passes over preference data cost, for plans: rows, attended pairs, floating-point operations, bytes of the reference's file. */
#ifndef TRAIN_PREFERENCE_COST_H
#define TRAIN_PREFERENCE_COST_H

#include "format/token_file.h"
#include "model/model.h"

/* One pass over all samples of a file. */
struct preference_cost {
    double rows, trained, pairs;                   /* of the answers, a prompt counted once */
    double other_rows, other_trained, other_pairs; /* of mismatched ones */
};

/* prompt: the prompt's tokens are scored too. mismatched: also the answer of the sample before. */
struct preference_cost preference_cost_of(const struct token_file *t, const struct model *m, bool prompt, bool mismatched);
double preference_cost_answers(const struct preference_cost *c, const struct model *m, bool backward, bool recompute);
double preference_cost_forward(const struct preference_cost *c, const struct model *m); /* of both, without gradients */
double preference_cost_mismatched(const struct preference_cost *c, const struct model *m);

/* Of a ref-logprobs(5) file, at most. */
int64_t preference_cost_file(const struct token_file *t, bool mismatched);

#endif
