/* Parts of preference.h that its files share: functions that neither overflow nor cancel, and one pair as the losses see it. */
#ifndef TRAIN_PREFERENCE_IMPL_H
#define TRAIN_PREFERENCE_IMPL_H

#include <math.h>

#include "train/preference.h"

enum {
    PREFERENCE_READS_SMOOTHING = 1,  /* --label-smoothing */
    PREFERENCE_READS_DIVERGENCE = 2, /* --f-divergence: the partition function cancels in its difference of scores */
    PREFERENCE_SORTS = 4,            /* pairs up quantiles of the step */
    PREFERENCE_RUNNING = 8           /* has the reward baseline */
};

enum preference_family { PREFERENCE_OF_PAIRS, PREFERENCE_LIKELIHOOD, PREFERENCE_FREE, PREFERENCE_OF_LABELS };

struct preference_kind {
    const char *name;
    enum preference_family family;
    int reads;
};

extern const struct preference_kind preference_kinds[PREFERENCE_LOSSES];

/* Exponents stop here (TRL does so for the alpha divergence): e^80 and its square are far from overflow. Beyond, the derivative is 0. */
#define PREFERENCE_EXPONENT_CAP 80.0

/* Below it log(1 - e^x) is finite; an answer that is certain counts as this. */
#define PREFERENCE_LOGP_MOST (-1e-12)

static inline double preference_sigmoid(double x)
{
    double t = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + t) : t / (1 + t);
}

static inline double preference_log_sigmoid(double x) { return fmin(x, 0) - log1p(exp(-fabs(x))); }

/* A function of one variable at a point. */
struct preference_point {
    double value, slope;
};

/* A loss of one pair, and its derivatives by the log-probabilities of the two answers. */
struct preference_slope {
    double value, chosen, rejected;
};

struct preference_pair {
    double policy[2], reference[2]; /* sums, with LD-DPO's weight */
    double ratio[2];                /* policy - reference: a, b */
    struct preference_point score[2];
    double count[2];
};

/* -(1 - epsilon) log sigmoid(z) - epsilon log sigmoid(-z): binary cross-entropy with smoothed labels. */
static inline struct preference_point preference_logistic(double z, double epsilon)
{
    return (struct preference_point){-(1 - epsilon) * preference_log_sigmoid(z) - epsilon * preference_log_sigmoid(-z),
                                     epsilon * preference_sigmoid(z) - (1 - epsilon) * preference_sigmoid(-z)};
}

struct preference_pair preference_pair_make(const struct preference *p, const struct preference_sample *s);
struct preference_slope preference_pair_loss(const struct preference *p, enum preference_loss loss, const struct preference_pair *x, double delta);

/* Without reference, of sums of log-probabilities. `reward`: beta * the quantity that the loss compares, before margins. */
struct preference_slope preference_free_loss(const struct preference *p, enum preference_loss loss, const struct preference_pair *x, double reward[2],
                                             double *log_odds);

/* Over the step: slopes[i] of pair i; returns the sum of the values. */
double preference_sorted_loss(const struct preference *p, enum preference_loss loss, const struct preference_pair *pairs, size_t n, struct preference_slope *slopes);

/* The whole evaluation of labelled answers. */
void preference_label_evaluate(const struct preference *p, const struct preference_totals *totals, const struct preference_state *state, bool training,
                               const struct preference_sample *s, size_t n, struct preference_gradient *gradients, struct preference_result *result);

/* The baseline after n more rewards of mean `mean`. */
struct preference_state preference_state_next(const struct preference_state *state, double mean, size_t n);

#endif
