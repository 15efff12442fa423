/* A step's losses put together: weights, likelihood terms, WPO, metrics. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "train/preference_impl.h"

/* Log-probabilities are sums of at most 2^28 of some -1e2: beyond this they are damage, and squares of less are finite. */
#define MOST 1e12

static int check_answer(const struct preference_answer *y, size_t i, const char *what, struct err *e)
{
    static const char *const names[] = {"log-probability", "log-probability", "reference log-probability", "reference log-probability", "agreement with the policy"};
    const double values[] = {y->shared, y->rest, y->reference_shared, y->reference_rest, y->agreement};
    for (size_t k = 0; k < sizeof values / sizeof *values; k++)
        if (!(fabs(values[k]) <= MOST))
            return err_set(e, "sample %zu: %s answer: %s is %g", i, what, names[k], values[k]);
    return y->count ? 0 : err_set(e, "sample %zu: %s answer: no trained token", i, what);
}

static int check(const struct preference *p, const struct preference_totals *totals, const struct preference_sample *s, size_t n, struct err *e)
{
    struct preference_needs needs = preference_needs(p);
    if (n < 1 || totals->samples < n)
        return err_set(e, "%zu samples of a step of %llu", n, (unsigned long long)totals->samples);
    for (size_t i = 0; i < n; i++) {
        bool second = !needs.labelled || needs.mismatched;
        if (check_answer(&s[i].answer[0], i, needs.labelled ? "the" : "chosen", e) < 0 ||
            (second && check_answer(&s[i].answer[1], i, needs.labelled ? "mismatched" : "rejected", e) < 0))
            return -1;
        if (needs.prompt && !(fabs(s[i].prompt) <= MOST))
            return err_set(e, "sample %zu: prompt: log-probability is %g", i, s[i].prompt);
    }
    return 0;
}

struct preference_totals preference_totals(const struct preference *p, const struct preference_sample *s, size_t n)
{
    struct preference_totals t = {.samples = n};
    bool prompt = preference_needs(p).prompt;
    for (size_t i = 0; i < n; i++) {
        t.chosen += s[i].answer[0].count;
        t.prompt += prompt ? s[i].prompt_count : 0;
    }
    return t;
}

/* WPO (Zhou et al. 2024, arXiv 2406.11827, eq. 2): the product of both answers' weights exp(mean of log p - log sum p^2), a constant to the
 * gradient. It is at most the vocabulary's size squared; the cap is for sums that no policy gives. */
static double pair_weight(const struct preference *p, const struct preference_sample *s)
{
    return p->o.wpo ? exp(fmin(s->answer[0].agreement + s->answer[1].agreement, PREFERENCE_EXPONENT_CAP)) : 1;
}

/* Work of one evaluation of pairs. */
struct work {
    const struct preference *p;
    const struct preference_totals *totals;
    const struct preference_sample *s;
    size_t n;
    struct preference_pair *pairs;
    struct preference_gradient *gradients;
    struct preference_result *result;
};

static void add(struct work *w, size_t i, double factor, const struct preference_slope *slope)
{
    if (!w->gradients)
        return;
    double by = factor / (double)w->totals->samples, ld = w->p->o.ld_alpha;
    struct preference_gradient *g = &w->gradients[i];
    g->shared[0] += by * slope->chosen;
    g->shared[1] += by * slope->rejected;
    g->rest[0] += by * ld * slope->chosen;
    g->rest[1] += by * ld * slope->rejected;
}

/* Mean of -log p over the trained tokens of the chosen answers, with `prompt` also over the prompts; no weight of LD-DPO or WPO. */
static double likelihood(struct work *w, double weight, bool prompt)
{
    double tokens = (double)w->totals->chosen + (prompt ? (double)w->totals->prompt : 0), sum = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct preference_sample *s = &w->s[i];
        sum -= s->answer[0].shared + s->answer[0].rest + (prompt ? s->prompt : 0);
        if (!w->gradients)
            continue;
        w->gradients[i].shared[0] -= weight / tokens;
        w->gradients[i].rest[0] -= weight / tokens;
        w->gradients[i].prompt -= prompt ? weight / tokens : 0;
    }
    w->result->metrics[PREFERENCE_NLL_LOSS] = sum / tokens;
    return sum / tokens;
}

static double sorted_term(struct work *w, const struct preference_term *term)
{
    struct preference_slope *slopes = mem_array(NULL, w->n, sizeof *slopes);
    double sum = preference_sorted_loss(w->p, term->loss, w->pairs, w->n, slopes);
    for (size_t i = 0; i < w->n; i++)
        add(w, i, term->weight, &slopes[i]);
    free(slopes);
    return sum / (double)w->totals->samples;
}

static double pair_term(struct work *w, const struct preference_term *term)
{
    double sum = 0;
    for (size_t i = 0; i < w->n; i++) {
        double weight = pair_weight(w->p, &w->s[i]);
        struct preference_slope slope = preference_pair_loss(w->p, term->loss, &w->pairs[i], w->result->state.mean);
        sum += weight * slope.value;
        add(w, i, term->weight * weight, &slope);
    }
    return sum / (double)w->totals->samples;
}

/* The means by which the log tells how rewards develop. */
static void reward_metrics(struct work *w, double (*rewards)[2], double (*logps)[2])
{
    double *m = w->result->metrics, n = (double)w->n;
    for (int k = PREFERENCE_REWARDS_CHOSEN; k <= PREFERENCE_LOGPS_REJECTED; k++)
        m[k] = 0;
    for (size_t i = 0; i < w->n; i++) {
        m[PREFERENCE_REWARDS_CHOSEN] += rewards[i][0] / n;
        m[PREFERENCE_REWARDS_REJECTED] += rewards[i][1] / n;
        m[PREFERENCE_REWARDS_ACCURACIES] += (rewards[i][0] > rewards[i][1]) / n;
        m[PREFERENCE_REWARDS_MARGINS] += (rewards[i][0] - rewards[i][1]) / n;
        m[PREFERENCE_LOGPS_CHOSEN] += logps[i][0] / n;
        m[PREFERENCE_LOGPS_REJECTED] += logps[i][1] / n;
    }
}

/* The one loss without reference; its likelihood term belongs to it. */
static double free_term(struct work *w, const struct preference_term *term)
{
    double (*rewards)[2] = mem_array(NULL, w->n, sizeof *rewards), (*logps)[2] = mem_array(NULL, w->n, sizeof *logps);
    double sum = 0, odds = 0, ratio = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct preference_pair *x = &w->pairs[i];
        double log_odds;
        struct preference_slope slope = preference_free_loss(w->p, term->loss, x, rewards[i], &log_odds);
        sum += slope.value;
        add(w, i, term->weight, &slope);
        odds += log_odds;
        ratio += preference_log_sigmoid(log_odds);
        for (int k = 0; k < 2; k++)
            logps[i][k] = x->policy[k] / (term->loss == PREFERENCE_CPO ? 1 : x->count[k]);
    }
    reward_metrics(w, rewards, logps);
    free(rewards);
    free(logps);
    if (term->loss == PREFERENCE_ORPO) {
        w->result->metrics[PREFERENCE_LOG_ODDS_CHOSEN] = odds / (double)w->n;
        w->result->metrics[PREFERENCE_LOG_ODDS_RATIO] = ratio / (double)w->n;
    }
    double mean = sum / (double)w->totals->samples;
    if (term->loss == PREFERENCE_ORPO || term->loss == PREFERENCE_CPO)
        mean += likelihood(w, term->weight, w->p->o.train_prompt);
    return mean;
}

/* Rewards are beta * log-ratio, whatever the losses and the divergence are; without a reference (sft alone) there are none. */
static void ratio_metrics(struct work *w)
{
    double (*rewards)[2] = mem_array(NULL, w->n, sizeof *rewards), (*logps)[2] = mem_array(NULL, w->n, sizeof *logps);
    for (size_t i = 0; i < w->n; i++)
        for (int k = 0; k < 2; k++) {
            rewards[i][k] = w->p->o.beta * w->pairs[i].ratio[k];
            logps[i][k] = w->pairs[i].policy[k];
        }
    reward_metrics(w, rewards, logps);
    for (int k = PREFERENCE_REWARDS_CHOSEN; k <= PREFERENCE_REWARDS_MARGINS && !preference_needs(w->p).reference; k++)
        w->result->metrics[k] = NAN;
    free(rewards);
    free(logps);
}

static void move_baseline(struct work *w, const struct preference_state *state)
{
    double mean = 0;
    for (size_t i = 0; i < w->n; i++)
        mean += w->p->o.beta * (w->pairs[i].ratio[0] + w->pairs[i].ratio[1]) / (2 * (double)w->n);
    w->result->state = preference_state_next(state, mean, 2 * w->n);
}

static void evaluate_pairs(struct work *w, const struct preference_state *state, bool training)
{
    const struct preference *p = w->p;
    bool running = false, free_of_reference = false;
    for (int k = 0; k < p->n_terms; k++) {
        running |= (preference_kinds[p->terms[k].loss].reads & PREFERENCE_RUNNING) != 0;
        free_of_reference |= preference_kinds[p->terms[k].loss].family == PREFERENCE_FREE;
    }
    if (running && training)
        move_baseline(w, state);
    if (running)
        w->result->metrics[PREFERENCE_DELTA] = w->result->state.mean;
    if (!free_of_reference)
        ratio_metrics(w);
    for (int k = 0; k < p->n_terms; k++) {
        const struct preference_term *term = &p->terms[k];
        const struct preference_kind *kind = &preference_kinds[term->loss];
        double mean = kind->family == PREFERENCE_LIKELIHOOD ? likelihood(w, term->weight, false)
                      : kind->family == PREFERENCE_FREE     ? free_term(w, term)
                      : kind->reads & PREFERENCE_SORTS      ? sorted_term(w, term)
                                                            : pair_term(w, term);
        w->result->terms[k] = mean;
        w->result->loss += term->weight * mean;
    }
}

int preference_evaluate(const struct preference *p, const struct preference_totals *totals, const struct preference_state *state, bool training,
                        const struct preference_sample *s, size_t n, struct preference_gradient *gradients, struct preference_result *result,
                        struct err *e)
{
    if (check(p, totals, s, n, e) < 0)
        return -1;
    *result = (struct preference_result){.state = *state};
    for (int k = 0; k < PREFERENCE_METRICS; k++)
        result->metrics[k] = NAN;
    if (gradients)
        memset(gradients, 0, n * sizeof *gradients);
    if (preference_needs(p).labelled) {
        preference_label_evaluate(p, totals, state, training, s, n, gradients, result);
        return 0;
    }
    struct work w = {p, totals, s, n, mem_array(NULL, n, sizeof *w.pairs), gradients, result};
    for (size_t i = 0; i < n; i++)
        w.pairs[i] = preference_pair_make(p, &s[i]);
    evaluate_pairs(&w, state, training);
    free(w.pairs);
    return 0;
}
