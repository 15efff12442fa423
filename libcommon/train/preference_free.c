/* Losses of pairs without a reference. TRL: trl/experimental/orpo/orpo_trainer.py, trl/experimental/cpo/cpo_trainer.py (1.16).
 * x: log-probability per trained token (of cpo: their sum). Their likelihood terms are added by preference_evaluate. */
#include "train/preference_impl.h"

/* log(p / (1 - p)) for p = e^x, and its derivative. */
static struct preference_point log_odds_of(double x)
{
    bool certain = x > PREFERENCE_LOGP_MOST;
    if (certain)
        x = PREFERENCE_LOGP_MOST;
    double rest = x < -M_LN2 ? log1p(-exp(x)) : log(-expm1(x));
    return (struct preference_point){x - rest, certain ? 0 : -1 / expm1(x)};
}

#define REWARD_EXPONENT_CAP 300.0 /* e^300 can still be multiplied with beta and its like */

/* AlphaPO (Gupta et al. 2025, arXiv 2501.03884): (1 - p^-alpha) / alpha for p = e^x. */
static struct preference_point alpha_reward(double x, double alpha)
{
    if (-alpha * x > REWARD_EXPONENT_CAP)
        return (struct preference_point){-expm1(REWARD_EXPONENT_CAP) / alpha, 0};
    return (struct preference_point){-expm1(-alpha * x) / alpha, exp(-alpha * x)};
}

struct preference_slope preference_free_loss(const struct preference *p, enum preference_loss loss, const struct preference_pair *x, double reward[2],
                                             double *log_odds)
{
    double beta = p->o.beta, unit[2], inner[2], gamma = 0;
    struct preference_point f;
    for (int k = 0; k < 2; k++) {
        unit[k] = loss == PREFERENCE_CPO ? 1 : 1 / x->count[k];
        double mean = x->policy[k] * unit[k];
        struct preference_point q = {mean, 1};
        if (loss == PREFERENCE_ALPHAPO)
            q = alpha_reward(mean, p->o.alpha);
        reward[k] = beta * q.value;
        if (loss == PREFERENCE_ORPO)
            q = log_odds_of(mean);
        inner[k] = q.value;
        unit[k] *= q.slope;
    }
    double difference = inner[0] - inner[1];
    if (loss == PREFERENCE_ORPO) { /* Hong et al. 2024, arXiv 2403.07691, eq. 6 and 7: -lambda log sigmoid(log odds ratio), lambda = beta */
        f = preference_logistic(difference, 0);
        f.value *= beta;
        f.slope *= beta;
    } else { /* CPO (Xu et al. 2024, arXiv 2401.08417, eq. 3); SimPO (Meng et al. 2024, arXiv 2405.14734, eq. 6): the margin gamma */
        if (loss != PREFERENCE_CPO)
            gamma = p->o.simpo_gamma;
        f = preference_logistic(beta * difference - gamma, p->o.label_smoothing);
        f.slope *= beta;
    }
    *log_odds = difference;
    return (struct preference_slope){f.value, f.slope * unit[0], -f.slope * unit[1]};
}
