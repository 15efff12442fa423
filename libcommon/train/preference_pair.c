/* Losses of pairs with a reference. TRL: trl/trainer/dpo_trainer.py, _compute_loss (1.16).
 * a, b: log-ratios log pi/pi_ref of chosen and rejected; s: their scores under the f-divergence; z = beta (s_c - s_r). */
#include "train/preference_impl.h"

/* f'(u) for u = e^x, up to constants that cancel (f-DPO: Wang et al. 2023, arXiv 2309.16240):
 * reverse KL log u; forward KL 1 - 1/u; Jensen-Shannon log(2u / (1 + u)); alpha (u^(alpha - 1) - 1) / (alpha - 1), of which forward KL
 * is alpha 0 and reverse KL the limit at 1. Zero at u = 1, as in TRL. */
static struct preference_point score(const struct preference *p, double x)
{
    double k = p->divergence == PREFERENCE_FORWARD_KL ? -1 : p->o.f_alpha - 1;
    if (p->divergence == PREFERENCE_REVERSE_KL || (p->divergence == PREFERENCE_ALPHA && fabs(k) < 1e-6))
        return (struct preference_point){x, 1};
    if (p->divergence == PREFERENCE_JS)
        return (struct preference_point){M_LN2 + preference_log_sigmoid(x), preference_sigmoid(-x)};
    if (k * x > PREFERENCE_EXPONENT_CAP)
        return (struct preference_point){expm1(PREFERENCE_EXPONENT_CAP) / k, 0};
    return (struct preference_point){expm1(k * x) / k, exp(k * x)};
}

/* LD-DPO (Liu et al. 2024, arXiv 2409.06411): tokens beyond the length of the shorter answer weigh alpha. */
struct preference_pair preference_pair_make(const struct preference *p, const struct preference_sample *s)
{
    struct preference_pair x;
    for (int k = 0; k < 2; k++) {
        const struct preference_answer *y = &s->answer[k];
        x.policy[k] = y->shared + p->o.ld_alpha * y->rest;
        x.reference[k] = y->reference_shared + p->o.ld_alpha * y->reference_rest;
        x.ratio[k] = x.policy[k] - x.reference[k];
        x.score[k] = score(p, x.ratio[k]);
        x.count[k] = y->count;
    }
    return x;
}

/* Losses that are a function of z. */
static struct preference_point of_margin(const struct preference *p, enum preference_loss loss, double z)
{
    double epsilon = p->o.label_smoothing;
    if (loss == PREFERENCE_HINGE) /* SLiC-HF (Zhao et al. 2023, arXiv 2305.10425) as in RSO (Liu et al. 2023, arXiv 2309.06657): max(0, 1 - z) */
        return (struct preference_point){fmax(0, 1 - z), z < 1 ? -1 : 0};
    if (loss == PREFERENCE_ROBUST) { /* Chowdhury et al. 2024, arXiv 2403.00409: [(1-e) l(z) - e l(-z)] / (1 - 2e), l(z) = -log sigmoid(z) */
        double scale = 1 / (1 - 2 * epsilon);
        return (struct preference_point){((epsilon - 1) * preference_log_sigmoid(z) + epsilon * preference_log_sigmoid(-z)) * scale,
                                         -((1 - epsilon) * preference_sigmoid(-z) + epsilon * preference_sigmoid(z)) * scale};
    }
    if (loss == PREFERENCE_EXO_PAIR) { /* Ji et al. 2024, arXiv 2402.00856, eq. 16: KL of (sigmoid(z), sigmoid(-z)) from (1 - e, e) */
        double w = preference_sigmoid(z), l = preference_sigmoid(-z), log_w = log1p(-epsilon), log_l = log(epsilon);
        return (struct preference_point){w * (preference_log_sigmoid(z) - log_w) + l * (preference_log_sigmoid(-z) - log_l), w * l * (z - log_w + log_l)};
    }
    if (loss == PREFERENCE_DISCOPOP) { /* Lu et al. 2024, arXiv 2406.08414, eq. 5: (1 - m) l(z) + m e^-z, m = sigmoid(z / tau); tau <= 1 bounds m e^-z */
        double tau = p->o.discopop_tau, m = preference_sigmoid(z / tau), rest = preference_sigmoid(-z / tau), logistic = -preference_log_sigmoid(z);
        double power = exp(preference_log_sigmoid(z / tau) - z);
        return (struct preference_point){rest * logistic + power, -rest * preference_sigmoid(-z) - power + rest * (power - m * logistic) / tau};
    }
    /* DPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 7); with epsilon cDPO (Mitchell 2023), which TRL 1.16 ignores here. */
    return preference_logistic(z, epsilon);
}

/* Losses of the two rewards rc = beta a, rr = beta b apart. */
static struct preference_slope of_rewards(const struct preference *p, enum preference_loss loss, double rc, double rr, double delta)
{
    struct preference_slope s;
    if (loss == PREFERENCE_NCA_PAIR) { /* Chen et al. 2024, arXiv 2402.05369, with K = 2: l(rc) + l(-rc) / 2 + l(-rr) / 2 */
        s.value = -preference_log_sigmoid(rc) - 0.5 * preference_log_sigmoid(-rc) - 0.5 * preference_log_sigmoid(-rr);
        s.chosen = 0.5 * preference_sigmoid(rc) - preference_sigmoid(-rc);
        s.rejected = 0.5 * preference_sigmoid(rr);
    } else if (loss == PREFERENCE_BCO_PAIR) { /* Jung et al. 2024, arXiv 2404.04656: l(rc - delta) + l(delta - rr); TRL 1.16 has delta = 0 */
        s.value = -preference_log_sigmoid(rc - delta) - preference_log_sigmoid(delta - rr);
        s.chosen = -preference_sigmoid(delta - rc);
        s.rejected = preference_sigmoid(rr - delta);
    } else if (loss == PREFERENCE_APO_ZERO) { /* D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 7, plus 1 */
        s.value = preference_sigmoid(-rc) + preference_sigmoid(rr);
        s.chosen = -preference_sigmoid(rc) * preference_sigmoid(-rc);
        s.rejected = preference_sigmoid(rr) * preference_sigmoid(-rr);
    } else { /* PREFERENCE_APO_DOWN: the same, eq. 8, plus 1 */
        double margin = preference_sigmoid(rc - rr) * preference_sigmoid(rr - rc);
        s.value = preference_sigmoid(rc) + preference_sigmoid(rr - rc);
        s.chosen = preference_sigmoid(rc) * preference_sigmoid(-rc) - margin;
        s.rejected = margin;
    }
    s.chosen *= p->o.beta;
    s.rejected *= p->o.beta;
    return s;
}

struct preference_slope preference_pair_loss(const struct preference *p, enum preference_loss loss, const struct preference_pair *x, double delta)
{
    double beta = p->o.beta, a = x->ratio[0], b = x->ratio[1];
    struct preference_point f;
    double unit[2] = {1, 1};
    switch (loss) {
    case PREFERENCE_SPPO_HARD: /* Wu et al. 2024, arXiv 2405.00675, eq. 4.7 with P = 1 for the winner, eta = 1 / beta */
        a -= 0.5 / beta;
        b += 0.5 / beta;
        return (struct preference_slope){a * a + b * b, 2 * a, 2 * b};
    case PREFERENCE_NCA_PAIR:
    case PREFERENCE_BCO_PAIR:
    case PREFERENCE_APO_ZERO:
    case PREFERENCE_APO_DOWN:
        return of_rewards(p, loss, beta * a, beta * b, delta);
    case PREFERENCE_IPO: /* Azar et al. 2023, arXiv 2310.12036, eq. 17; log-ratios per token, as its authors hold it should be (TRL) */
    case PREFERENCE_SIGMOID_NORM: { /* Lambert et al. 2024 (Tulu 3), arXiv 2411.15124: DPO of log-ratios per token */
        unit[0] = 1 / x->count[0];
        unit[1] = 1 / x->count[1];
        double difference = x->score[0].value * unit[0] - x->score[1].value * unit[1];
        if (loss == PREFERENCE_SIGMOID_NORM) {
            f = preference_logistic(beta * difference, 0);
            f.slope *= beta;
        } else {
            double off = difference - 0.5 / beta;
            f = (struct preference_point){off * off, 2 * off};
        }
        break;
    }
    default:
        f = of_margin(p, loss, beta * (x->score[0].value - x->score[1].value));
        f.slope *= beta;
    }
    return (struct preference_slope){f.value, f.slope * unit[0] * x->score[0].slope, -f.slope * unit[1] * x->score[1].slope};
}
