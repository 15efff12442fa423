/* Losses of labelled answers. TRL: trl/trainer/kto_trainer.py, _compute_loss (1.16); trl/experimental/bco/bco_trainer.py, bco_loss (1.13, the last
 * release that has it). r: reward, beta * log-ratio; means are over all answers of the step, whatever their weights. */
#include "train/preference_impl.h"

struct preference_state preference_state_next(const struct preference_state *state, double mean, size_t n)
{
    double count = state->count + (double)n;
    return (struct preference_state){state->mean + (mean - state->mean) * (double)n / count, count};
}

/* KTO (Ethayarajh et al. 2024, arXiv 2402.01306, eq. 7): z0 = max(0, mean log-ratio of mismatched answers). */
static double divergence_estimate(const struct preference_sample *s, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += s[i].answer[1].shared + s[i].answer[1].rest - s[i].answer[1].reference_shared - s[i].answer[1].reference_rest;
    return fmax(0, sum / (double)n);
}

/* The loss as a function of the reward of one answer. */
static struct preference_point of_reward(enum preference_loss loss, bool label, double r, double baseline)
{
    double z = label ? r - baseline : baseline - r;
    struct preference_point f;
    if (loss == PREFERENCE_BCO) /* Jung et al. 2024, arXiv 2404.04656: -log sigmoid(+-(r - delta)) */
        f = preference_logistic(z, 0);
    else /* KTO eq. 7: 1 - sigmoid(+-(r - beta z0)); apo_zero_unpaired: the same with z0 = 0 (arXiv 2408.06266, eq. 7) */
        f = (struct preference_point){preference_sigmoid(-z), -preference_sigmoid(z) * preference_sigmoid(-z)};
    f.slope = label ? f.slope : -f.slope;
    return f;
}

/* Means by label. */
static void label_metrics(const struct preference *p, const struct preference_sample *s, size_t n, double *metrics)
{
    double reward[2] = {0}, logp[2] = {0};
    size_t count[2] = {0};
    for (size_t i = 0; i < n; i++) {
        const struct preference_answer *y = &s[i].answer[0];
        int k = s[i].label ? 0 : 1;
        logp[k] += y->shared + y->rest;
        reward[k] += p->o.beta * (y->shared + y->rest - y->reference_shared - y->reference_rest);
        count[k]++;
    }
    for (int k = 0; k < 2; k++)
        if (count[k]) {
            metrics[PREFERENCE_REWARDS_CHOSEN + k] = reward[k] / (double)count[k];
            metrics[PREFERENCE_LOGPS_CHOSEN + k] = logp[k] / (double)count[k];
        }
    if (count[0] && count[1])
        metrics[PREFERENCE_REWARDS_MARGINS] = metrics[PREFERENCE_REWARDS_CHOSEN] - metrics[PREFERENCE_REWARDS_REJECTED];
}

void preference_label_evaluate(const struct preference *p, const struct preference_totals *totals, const struct preference_state *state, bool training,
                               const struct preference_sample *s, size_t n, struct preference_gradient *gradients, struct preference_result *result)
{
    enum preference_loss loss = p->terms[0].loss;
    double beta = p->o.beta, baseline = 0, sum = 0, rewards = 0;
    for (size_t i = 0; i < n; i++) {
        const struct preference_answer *y = &s[i].answer[0];
        rewards += beta * (y->shared + y->rest - y->reference_shared - y->reference_rest);
    }
    if (loss == PREFERENCE_KTO) {
        result->metrics[PREFERENCE_KL] = divergence_estimate(s, n);
        baseline = beta * result->metrics[PREFERENCE_KL];
    }
    if (loss == PREFERENCE_BCO) {
        if (training)
            result->state = preference_state_next(state, rewards / (double)n, n);
        result->metrics[PREFERENCE_DELTA] = baseline = result->state.mean;
    }
    for (size_t i = 0; i < n; i++) {
        const struct preference_answer *y = &s[i].answer[0];
        double weight = s[i].label ? p->o.desirable_weight : p->o.undesirable_weight;
        struct preference_point f = of_reward(loss, s[i].label, beta * (y->shared + y->rest - y->reference_shared - y->reference_rest), baseline);
        sum += weight * f.value;
        if (gradients) {
            double slope = p->terms[0].weight * weight * beta * f.slope / (double)totals->samples;
            gradients[i] = (struct preference_gradient){.shared = {slope, 0}, .rest = {slope, 0}};
        }
    }
    result->terms[0] = sum / (double)totals->samples;
    result->loss = p->terms[0].weight * result->terms[0];
    label_metrics(p, s, n, result->metrics);
}
