/* Preference losses: from sums of log-probabilities of a step's answers to the loss, its derivatives and its metrics.
 *
 *     struct preference_options o = PREFERENCE_DEFAULTS;           the tool's option table fills it
 *     struct preference p;
 *     preference_init(&p, &o, e)                                   parses and checks: "sigmoid:0.8,bco_pair:0.2,sft"
 *     struct preference_needs needs = preference_needs(&p);        what the trainer has to compute
 *     struct preference_totals t = preference_totals(&p, samples, n);   counts only: known before any computation
 *     preference_evaluate(&p, &t, &state, true, samples, n, gradients, &result, e)
 *
 * Everything is double, pure, and a function of its arguments alone; sums run in the order of the samples, so the result
 * does not depend on how they were computed. Where needs.step is false the derivatives of a sample depend on that sample and the
 * totals only: a trainer may then call preference_evaluate with the step's totals and the samples of one pack, use the gradients, and
 * call it once more with all samples for the result. Where needs.step is true all samples of the step must be given.
 *
 * The loss of a step is  sum over terms of  weight * mean over samples,  a mean over the whole step (--batch), not over parts of it.
 * Formulas with their sources are at each function (preference_pair.c, preference_sorted.c, preference_free.c, preference_label.c)
 * and in dpo-train(1). No finite input gives NaN. Errors: sums that are not finite, answers without trained tokens; the text
 * starts with "sample N: " (N from 0, index into `samples`; the caller knows which record it is).
 * Nothing is owned: `p` borrows the strings of the options. */
#ifndef TRAIN_PREFERENCE_H
#define TRAIN_PREFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum preference_loss {
    /* of pairs, with a reference; any weighted sum of these */
    PREFERENCE_SIGMOID, PREFERENCE_HINGE, PREFERENCE_IPO, PREFERENCE_ROBUST, PREFERENCE_EXO_PAIR, PREFERENCE_NCA_PAIR, PREFERENCE_BCO_PAIR,
    PREFERENCE_SPPO_HARD, PREFERENCE_AOT, PREFERENCE_AOT_UNPAIRED, PREFERENCE_APO_ZERO, PREFERENCE_APO_DOWN, PREFERENCE_DISCOPOP, PREFERENCE_SIGMOID_NORM,
    /* of pairs: -log p per trained token of the chosen answers; with any loss of pairs, or alone */
    PREFERENCE_SFT,
    /* of pairs, without reference; one of them, and sft */
    PREFERENCE_ORPO, PREFERENCE_CPO, PREFERENCE_SIMPO, PREFERENCE_ALPHAPO,
    /* of labelled answers, with a reference; one of them, alone */
    PREFERENCE_KTO, PREFERENCE_APO_ZERO_UNPAIRED, PREFERENCE_BCO,
    PREFERENCE_LOSSES
};

enum preference_divergence { PREFERENCE_REVERSE_KL, PREFERENCE_FORWARD_KL, PREFERENCE_JS, PREFERENCE_ALPHA };

/* What the tool's options say. Each is range-checked by preference_init, which also refuses a value other than the default that no chosen loss reads. */
struct preference_options {
    const char *losses;        /* --loss: NAME[:WEIGHT],...; a weight is above 0, by default 1 */
    double beta;               /* --beta, from 1e-6: of every loss; of ipo the paper's tau, of orpo its lambda */
    double label_smoothing;    /* --label-smoothing, 0 <= x < 0.5: sigmoid (cDPO), robust, exo_pair (needs > 0), aot, aot_unpaired, cpo, simpo, alphapo */
    const char *f_divergence;  /* --f-divergence: "reverse_kl", "forward_kl", "js_divergence", "alpha_divergence" */
    double f_alpha;            /* --f-alpha: of alpha_divergence, -10 to 10 */
    double ld_alpha;           /* --ld-alpha, 0 to 1: weight of the tokens beyond the shorter answer's length (LD-DPO); 1: plain */
    bool wpo;                  /* --wpo: pairs weighted by how probable their answers are to the policy */
    double discopop_tau;       /* --discopop-tau, 1e-3 to 1 */
    double simpo_gamma;        /* --simpo-gamma, 0 <= x: simpo and alphapo, target margin of the rewards */
    double alpha;              /* --alphapo-alpha: of alphapo, -10 to 10, not 0 */
    double desirable_weight;   /* --desirable-weight, --undesirable-weight, 0 <= x: kto, apo_zero_unpaired, bco */
    double undesirable_weight;
    bool train_prompt;         /* --train-prompt: orpo's likelihood term over prompt and chosen answer */
};

#define PREFERENCE_DEFAULTS                                                                                                      \
    {                                                                                                                            \
        .losses = "sigmoid", .beta = 0.1, .f_divergence = "reverse_kl", .f_alpha = 0.5, .ld_alpha = 1, .discopop_tau = 0.05,    \
        .simpo_gamma = 0.5, .alpha = 0.25, .desirable_weight = 1, .undesirable_weight = 1,                                      \
    }

struct preference_term {
    enum preference_loss loss;
    double weight;
};

struct preference {
    struct preference_options o;
    enum preference_divergence divergence;
    int n_terms; /* of different losses, in the order of enum preference_loss */
    struct preference_term terms[PREFERENCE_LOSSES];
};

struct preference_needs {
    bool labelled;   /* labelled samples, else pairs */
    bool reference;  /* log-probabilities of the reference, too */
    bool mismatched; /* labelled: the second answer of a sample is the answer of the sample before it in the data file (of the first sample: the
                        last's), whatever the batches are, so that its reference can be computed once; never trained */
    bool step;       /* derivatives need the sums of the whole step */
    bool agreement;  /* WPO: preference_answer.agreement */
    bool prompt;     /* preference_sample.prompt, and derivatives for the prompt's rows */
};

/* One answer under policy and reference: sums of log-probabilities of trained tokens. The first `shared` trained tokens, where
 * shared = min(trained of chosen, trained of rejected), are summed apart from the rest, which LD-DPO weighs less; of labelled samples
 * all tokens are shared. Sums of both without --ld-alpha are the same. */
struct preference_answer {
    uint32_t count;                         /* trained tokens, at least 1 */
    double shared, rest;                    /* policy */
    double reference_shared, reference_rest; /* reference; 0 where none is needed */
    double agreement;                       /* mean over trained tokens of log p(token) - log sum over the vocabulary of p^2 */
};

struct preference_sample {
    struct preference_answer answer[2]; /* pairs: chosen, rejected; labelled: the answer, and the mismatched one if it is needed */
    double prompt;                      /* sum of log-probabilities of the prompt's tokens but its first */
    uint32_t prompt_count;              /* of these */
    bool label;                         /* labelled: desirable */
};

/* Derivatives of the step's loss by each sum: the coefficient of d log p(token) is the same for all tokens of one sum. The mismatched
 * answer's stay 0. */
struct preference_gradient {
    double shared[2], rest[2];
    double prompt;
};

/* Counts over the whole step. */
struct preference_totals {
    uint64_t samples;
    uint64_t chosen; /* pairs: trained tokens of the chosen answers */
    uint64_t prompt; /* prompt_count of all samples */
};

/* The reward baseline of bco_pair and bco: mean of all rewards seen in training. Starts as {0}; part of a checkpoint. */
struct preference_state {
    double mean, count;
};

enum preference_metric {
    PREFERENCE_REWARDS_CHOSEN, PREFERENCE_REWARDS_REJECTED, PREFERENCE_REWARDS_ACCURACIES, PREFERENCE_REWARDS_MARGINS, PREFERENCE_LOGPS_CHOSEN, PREFERENCE_LOGPS_REJECTED,
    PREFERENCE_NLL_LOSS, PREFERENCE_LOG_ODDS_RATIO, PREFERENCE_LOG_ODDS_CHOSEN, PREFERENCE_KL, PREFERENCE_DELTA,
    PREFERENCE_METRICS
};

struct preference_result {
    double loss;
    double terms[PREFERENCE_LOSSES];    /* of each term, its mean before its weight */
    double metrics[PREFERENCE_METRICS]; /* NAN: the losses have no such metric, or (kto, bco) the step no such answer */
    struct preference_state state;      /* after this step; the one given where not training or not needed */
};

int preference_init(struct preference *p, const struct preference_options *o, struct err *e) MUST_CHECK;
struct preference_needs preference_needs(const struct preference *p);
struct preference_totals preference_totals(const struct preference *p, const struct preference_sample *s, size_t n);

/* gradients: n, or NULL (evaluation). training: the reward baseline moves first, with this step's rewards (TRL does so); else it stands.
 * n 0 is an error. */
int preference_evaluate(const struct preference *p, const struct preference_totals *totals, const struct preference_state *state, bool training,
                        const struct preference_sample *s, size_t n, struct preference_gradient *gradients, struct preference_result *result,
                        struct err *e) MUST_CHECK;

const char *preference_loss_name(enum preference_loss loss);       /* "sigmoid" */
const char *preference_metric_name(enum preference_metric metric); /* "rewards/chosen" */

#endif
