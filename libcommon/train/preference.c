/* Names, parsing and checks of the preference losses. */
#include "train/preference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/suggest.h"
#include "train/preference_impl.h"

enum { SMOOTHING = PREFERENCE_READS_SMOOTHING, DIVERGENCE = PREFERENCE_READS_DIVERGENCE };

const struct preference_kind preference_kinds[PREFERENCE_LOSSES] = {
    [PREFERENCE_SIGMOID] = {"sigmoid", PREFERENCE_OF_PAIRS, SMOOTHING | DIVERGENCE},
    [PREFERENCE_HINGE] = {"hinge", PREFERENCE_OF_PAIRS, DIVERGENCE},
    [PREFERENCE_IPO] = {"ipo", PREFERENCE_OF_PAIRS, DIVERGENCE},
    [PREFERENCE_ROBUST] = {"robust", PREFERENCE_OF_PAIRS, SMOOTHING | DIVERGENCE},
    [PREFERENCE_EXO_PAIR] = {"exo_pair", PREFERENCE_OF_PAIRS, SMOOTHING | DIVERGENCE},
    [PREFERENCE_NCA_PAIR] = {"nca_pair", PREFERENCE_OF_PAIRS, 0},
    [PREFERENCE_BCO_PAIR] = {"bco_pair", PREFERENCE_OF_PAIRS, PREFERENCE_RUNNING},
    [PREFERENCE_SPPO_HARD] = {"sppo_hard", PREFERENCE_OF_PAIRS, 0},
    [PREFERENCE_AOT] = {"aot", PREFERENCE_OF_PAIRS, SMOOTHING | PREFERENCE_SORTS},
    [PREFERENCE_AOT_UNPAIRED] = {"aot_unpaired", PREFERENCE_OF_PAIRS, SMOOTHING | PREFERENCE_SORTS},
    [PREFERENCE_APO_ZERO] = {"apo_zero", PREFERENCE_OF_PAIRS, 0},
    [PREFERENCE_APO_DOWN] = {"apo_down", PREFERENCE_OF_PAIRS, 0},
    [PREFERENCE_DISCOPOP] = {"discopop", PREFERENCE_OF_PAIRS, DIVERGENCE},
    [PREFERENCE_SIGMOID_NORM] = {"sigmoid_norm", PREFERENCE_OF_PAIRS, DIVERGENCE},
    [PREFERENCE_SFT] = {"sft", PREFERENCE_LIKELIHOOD, DIVERGENCE},
    [PREFERENCE_ORPO] = {"orpo", PREFERENCE_FREE, 0},
    [PREFERENCE_CPO] = {"cpo", PREFERENCE_FREE, SMOOTHING},
    [PREFERENCE_SIMPO] = {"simpo", PREFERENCE_FREE, SMOOTHING},
    [PREFERENCE_ALPHAPO] = {"alphapo", PREFERENCE_FREE, SMOOTHING},
    [PREFERENCE_KTO] = {"kto", PREFERENCE_OF_LABELS, 0},
    [PREFERENCE_APO_ZERO_UNPAIRED] = {"apo_zero_unpaired", PREFERENCE_OF_LABELS, 0},
    [PREFERENCE_BCO] = {"bco", PREFERENCE_OF_LABELS, PREFERENCE_RUNNING},
};

const char *preference_loss_name(enum preference_loss loss) { return preference_kinds[loss].name; }

const char *preference_metric_name(enum preference_metric metric)
{
    static const char *const names[PREFERENCE_METRICS] = {
        "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
        "nll_loss", "log_odds_ratio", "log_odds_chosen", "kl", "delta",
    };
    return names[metric];
}

static bool has(const struct preference *p, enum preference_loss loss)
{
    for (int i = 0; i < p->n_terms; i++)
        if (p->terms[i].loss == loss)
            return true;
    return false;
}

static bool has_family(const struct preference *p, enum preference_family family)
{
    for (int i = 0; i < p->n_terms; i++)
        if (preference_kinds[p->terms[i].loss].family == family)
            return true;
    return false;
}

static bool any_reads(const struct preference *p, int what)
{
    for (int i = 0; i < p->n_terms; i++)
        if (preference_kinds[p->terms[i].loss].reads & what)
            return true;
    return false;
}

struct preference_needs preference_needs(const struct preference *p)
{
    return (struct preference_needs){
        .labelled = has_family(p, PREFERENCE_OF_LABELS),
        .reference = has_family(p, PREFERENCE_OF_LABELS) || has_family(p, PREFERENCE_OF_PAIRS),
        .mismatched = has(p, PREFERENCE_KTO),
        .step = any_reads(p, PREFERENCE_SORTS | PREFERENCE_RUNNING) || has(p, PREFERENCE_KTO),
        .agreement = p->o.wpo,
        .prompt = p->o.train_prompt,
    };
}

/* One "NAME" or "NAME:WEIGHT" of n bytes. */
static int parse_term(struct preference *p, const char *s, size_t n, struct err *e)
{
    const char *names[PREFERENCE_LOSSES + 1] = {NULL};
    char text[64], *end = text;
    if (n == 0 || n >= sizeof text)
        return err_set(e, "--loss '%s': an item is %s", p->o.losses, n ? "too long" : "empty");
    memcpy(text, s, n);
    text[n] = 0;
    char *colon = strchr(text, ':');
    double weight = 1;
    if (colon) {
        *colon = 0;
        weight = strtod(colon + 1, &end);
        if (end == colon + 1 || *end || !(weight > 0 && weight <= 1e6))
            return err_set(e, "--loss: weight '%s' of %s is not a number above 0 and up to 1e6", colon + 1, text);
    }
    int i = 0;
    while (i < PREFERENCE_LOSSES && strcmp(text, preference_kinds[i].name))
        i++;
    if (i == PREFERENCE_LOSSES) {
        for (int k = 0; k < PREFERENCE_LOSSES; k++)
            names[k] = preference_kinds[k].name;
        const char *near = suggest_nearest(text, names);
        return err_set(e, "--loss: '%s' is not a loss%s%s%s", text, near ? "; did you mean '" : " (dpo-train(1) lists them)", near ? near : "", near ? "'?" : "");
    }
    if (has(p, (enum preference_loss)i))
        return err_set(e, "--loss: %s is there twice", text);
    p->terms[p->n_terms++] = (struct preference_term){(enum preference_loss)i, weight};
    return 0;
}

static int by_loss(const void *a, const void *b)
{
    return (int)((const struct preference_term *)a)->loss - (int)((const struct preference_term *)b)->loss;
}

static int parse_losses(struct preference *p, struct err *e)
{
    for (const char *s = p->o.losses;;) {
        size_t n = strcspn(s, ",");
        if (parse_term(p, s, n, e) < 0)
            return -1;
        if (!s[n])
            return 0;
        s += n + 1;
    }
}

static int parse_divergence(struct preference *p, struct err *e)
{
    static const char *const names[] = {"reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(p->o.f_divergence, names[i])) {
            p->divergence = (enum preference_divergence)i;
            return 0;
        }
    return err_set(e, "--f-divergence '%s' is unknown, expected reverse_kl, forward_kl, js_divergence or alpha_divergence", p->o.f_divergence);
}

static int check_ranges(const struct preference_options *o, struct err *e)
{
    const struct {
        const char *name;
        double value, min, max;
    } rows[] = {
        {"beta", o->beta, 1e-6, 1e3},
        {"label-smoothing", o->label_smoothing, 0, 0.5},
        {"f-alpha", o->f_alpha, -10, 10},
        {"ld-alpha", o->ld_alpha, 0, 1},
        {"discopop-tau", o->discopop_tau, 1e-3, 1},
        {"simpo-gamma", o->simpo_gamma, 0, 1e3},
        {"alphapo-alpha", o->alpha, -10, 10},
        {"desirable-weight", o->desirable_weight, 0, 1e3},
        {"undesirable-weight", o->undesirable_weight, 0, 1e3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!(rows[i].value >= rows[i].min && rows[i].value <= rows[i].max))
            return err_set(e, "--%s %g: expected a number from %g to %g", rows[i].name, rows[i].value, rows[i].min, rows[i].max);
    if (o->label_smoothing >= 0.5)
        return err_set(e, "--label-smoothing %g: expected less than 0.5 (half of the labels wrong: nothing to learn)", o->label_smoothing);
    if (o->desirable_weight == 0 && o->undesirable_weight == 0)
        return err_set(e, "--desirable-weight and --undesirable-weight are both 0: nothing would be trained");
    if (o->alpha == 0)
        return err_set(e, "--alphapo-alpha 0 is simpo: expected a number from -10 to 10, not 0");
    return 0;
}

/* Losses that may stand in one list. */
static int check_list(const struct preference *p, struct err *e)
{
    for (int i = 0; i < p->n_terms; i++)
        for (int k = i + 1; k < p->n_terms; k++) {
            const struct preference_kind *a = &preference_kinds[p->terms[i].loss], *b = &preference_kinds[p->terms[k].loss];
            if (a->family == PREFERENCE_OF_LABELS || b->family == PREFERENCE_OF_LABELS)
                return err_set(e, "--loss: %s and %s: a loss of labelled answers stands alone", a->name, b->name);
            if ((a->family == PREFERENCE_FREE && b->family != PREFERENCE_LIKELIHOOD) || (b->family == PREFERENCE_FREE && a->family != PREFERENCE_LIKELIHOOD))
                return err_set(e, "--loss: %s and %s: beside a loss without reference only sft can stand", a->name, b->name);
        }
    return 0;
}

/* An option that changes nothing is a mistake of the caller. */
static int check_readers(const struct preference *p, struct err *e)
{
    const struct preference_options *o = &p->o, d = PREFERENCE_DEFAULTS;
    bool pairs = has_family(p, PREFERENCE_OF_PAIRS), labels = has_family(p, PREFERENCE_OF_LABELS);
    if (o->f_alpha != d.f_alpha && p->divergence != PREFERENCE_ALPHA)
        return err_set(e, "--f-alpha is for --f-divergence alpha_divergence, which is %s", o->f_divergence);
    const struct {
        bool set, read;
        const char *text;
    } rows[] = {
        {o->label_smoothing != 0, any_reads(p, SMOOTHING), "--label-smoothing is for sigmoid, robust, exo_pair, aot, aot_unpaired, cpo, simpo and alphapo"},
        {o->beta != d.beta, pairs || labels || has_family(p, PREFERENCE_FREE), "--beta is for losses of preferences"},
        {o->ld_alpha != 1, pairs, "--ld-alpha is for losses of pairs with a reference"},
        {o->wpo, pairs, "--wpo is for losses of pairs with a reference"},
        {o->wpo, !any_reads(p, PREFERENCE_SORTS), "--wpo weights pairs, but aot and aot_unpaired take them apart"},
        {o->discopop_tau != d.discopop_tau, has(p, PREFERENCE_DISCOPOP), "--discopop-tau is for discopop"},
        {o->simpo_gamma != d.simpo_gamma, has(p, PREFERENCE_SIMPO) || has(p, PREFERENCE_ALPHAPO), "--simpo-gamma is for simpo and alphapo"},
        {o->alpha != d.alpha, has(p, PREFERENCE_ALPHAPO), "--alphapo-alpha is for alphapo"},
        {o->desirable_weight != 1 || o->undesirable_weight != 1, labels, "--desirable-weight and --undesirable-weight are for kto, apo_zero_unpaired and bco"},
        {o->train_prompt, has(p, PREFERENCE_ORPO), "--train-prompt is for orpo"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].set && !rows[i].read)
            return err_set(e, "%s; --loss is %s", rows[i].text, o->losses);
    for (int i = 0; i < p->n_terms && p->divergence != PREFERENCE_REVERSE_KL; i++)
        if (!(preference_kinds[p->terms[i].loss].reads & DIVERGENCE) || !pairs)
            return err_set(e, "--f-divergence %s is for sigmoid, sigmoid_norm, hinge, ipo, exo_pair, robust and discopop (and sft beside them), not for %s", o->f_divergence,
                           preference_kinds[p->terms[i].loss].name);
    if (has(p, PREFERENCE_EXO_PAIR) && o->label_smoothing == 0)
        return err_set(e, "exo_pair needs --label-smoothing above 0, for example 0.001: it compares with a distribution that is nowhere 0");
    return 0;
}

int preference_init(struct preference *p, const struct preference_options *o, struct err *e)
{
    *p = (struct preference){.o = *o};
    if (parse_losses(p, e) < 0 || parse_divergence(p, e) < 0 || check_ranges(o, e) < 0)
        return -1;
    if (check_list(p, e) < 0 || check_readers(p, e) < 0)
        return -1;
    qsort(p->terms, (size_t)p->n_terms, sizeof *p->terms, by_loss); /* whatever the order of the list: the same sums, and the same run */
    return 0;
}
