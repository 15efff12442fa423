/* train/preference: every loss and combination against TRL (tests/golden/make_preference.py) and against finite differences; what may be asked for; extreme
 * sums. */
#include "train/preference.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/unit/tap.h"

enum { MOST = 8 };

struct batch {
    size_t n;
    struct preference_sample s[MOST];
};

static double at(const json_t *array, size_t i) { return json_number_value(json_array_get(array, i)); }

static struct batch read_batch(const json_t *list)
{
    struct batch b = {.n = json_array_size(list)};
    for (size_t i = 0; i < b.n && i < MOST; i++) {
        json_t *s = json_array_get(list, i), *prompt = json_object_get(s, "prompt");
        for (size_t k = 0; k < 2; k++) {
            json_t *y = json_array_get(json_object_get(s, "answers"), k);
            b.s[i].answer[k] = (struct preference_answer){(uint32_t)at(y, 0), at(y, 1), at(y, 2), at(y, 3), at(y, 4), at(y, 5)};
        }
        b.s[i].prompt_count = (uint32_t)at(prompt, 0);
        b.s[i].prompt = at(prompt, 1);
        b.s[i].label = json_is_true(json_object_get(s, "label"));
    }
    return b;
}

/* Strings are borrowed from the JSON. */
static struct preference_options read_options(const json_t *j)
{
    struct preference_options o = PREFERENCE_DEFAULTS;
    o.losses = json_string_value(json_object_get(j, "losses"));
    const struct {
        const char *name;
        double *to;
    } reals[] = {
        {"beta", &o.beta}, {"label_smoothing", &o.label_smoothing}, {"f_alpha", &o.f_alpha}, {"ld_alpha", &o.ld_alpha}, {"discopop_tau", &o.discopop_tau},
        {"simpo_gamma", &o.simpo_gamma}, {"alpha", &o.alpha}, {"desirable_weight", &o.desirable_weight}, {"undesirable_weight", &o.undesirable_weight},
    };
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (json_object_get(j, reals[i].name))
            *reals[i].to = json_number_value(json_object_get(j, reals[i].name));
    if (json_object_get(j, "f_divergence"))
        o.f_divergence = json_string_value(json_object_get(j, "f_divergence"));
    o.wpo = json_is_true(json_object_get(j, "wpo"));
    o.train_prompt = json_is_true(json_object_get(j, "train_prompt"));
    return o;
}

/* Of a number that TRL has as inf or NaN only this is asked: ours is not NaN. */
static bool near(double got, const json_t *want, double scale, const char *what)
{
    double w = json_number_value(want), by = fmax(fmax(1, scale), fabs(w));
    bool good = json_is_null(want) ? !isnan(got) : fabs(got - w) <= 1e-6 * by;
    if (!good)
        printf("# %s: got %.12g, expected %.12g\n", what, got, w);
    return good;
}

static bool same_metrics(const struct preference_result *r, json_t *want, bool all)
{
    bool good = true;
    size_t found = 0;
    for (int k = 0; k < PREFERENCE_METRICS; k++) {
        json_t *w = json_object_get(want, preference_metric_name((enum preference_metric)k));
        if (w) {
            good &= near(r->metrics[k], w, 1, preference_metric_name((enum preference_metric)k));
            found++;
        } else if (all && !isnan(r->metrics[k])) {
            printf("# %s is %g, expected none\n", preference_metric_name((enum preference_metric)k), r->metrics[k]);
            good = false;
        }
    }
    return good && found == json_object_size(want);
}

static bool same_gradients(const struct preference_gradient *g, size_t n, json_t *want)
{
    bool good = json_array_size(want) == n;
    for (size_t i = 0; i < n; i++) {
        json_t *w = json_array_get(want, i);
        const double got[] = {g[i].shared[0], g[i].rest[0], g[i].shared[1], g[i].rest[1], g[i].prompt};
        for (size_t k = 0; k < 5; k++) {
            bool empty = (k == 1 || k == 3) && at(w, k) == 0; /* no such tokens */
            if (!empty)
                good &= near(got[k], json_array_get(w, k), 0, "gradient");
        }
    }
    return good;
}

static void run_case(json_t *c, json_t *batches, size_t i)
{
    json_t *options = json_object_get(c, "options"), *state = json_object_get(c, "state");
    const char *name = json_string_value(json_object_get(c, "batch"));
    struct batch b = read_batch(json_object_get(batches, name));
    struct preference_options o = read_options(options);
    struct preference p;
    struct err e = ERR_INIT;
    struct preference_state s = {at(state, 0), at(state, 1)};
    struct preference_gradient g[MOST];
    struct preference_result r;
    char *shown = json_dumps(options, JSON_COMPACT);
    bool good = preference_init(&p, &o, &e) == 0;
    struct preference_totals t = {0};
    if (good) {
        t = preference_totals(&p, b.s, b.n);
        good = preference_evaluate(&p, &t, &s, json_is_true(json_object_get(c, "training")), b.s, b.n, g, &r, &e) == 0;
    }
    if (!good)
        printf("# %s\n", e.text);
    good = good && near(r.loss, json_object_get(c, "loss"), 0, "loss");
    good = good && same_gradients(g, b.n, json_object_get(c, "gradients"));
    good = good && same_metrics(&r, json_object_get(c, "metrics"), false);
    ok(good, "case %zu, batch %s: %s", i, name, shown);
    free(shown);
}

static void test_golden(void)
{
    json_error_t je;
    json_t *root = json_load_file("tests/golden/preference.json", 0, &je), *cases = json_object_get(root, "cases"), *c;
    size_t i;
    ok(json_array_size(cases) > 300, "the table of cases");
    json_array_foreach(cases, i, c) run_case(c, json_object_get(root, "batches"), i);
    json_decref(root);
}

/* Loss as a function of one sum moved by h; NAN when it is refused. */
static double moved(const struct preference *p, const struct batch *b, const struct preference_state *s, size_t i, int which, double h)
{
    struct batch c = *b;
    double *sums[] = {&c.s[i].answer[0].shared, &c.s[i].answer[0].rest, &c.s[i].answer[1].shared, &c.s[i].answer[1].rest, &c.s[i].prompt};
    struct preference_totals t = preference_totals(p, b->s, b->n);
    struct preference_result r;
    struct err e = ERR_INIT;
    *sums[which] += h;
    return preference_evaluate(p, &t, s, false, c.s, c.n, NULL, &r, &e) < 0 ? NAN : r.loss;
}

/* The derivative is that of the value; the baseline and WPO's weights are constants to it, and so is kto's estimate. */
static void test_differences(json_t *batches)
{
    struct batch b = read_batch(json_object_get(batches, "five"));
    for (int loss = 0; loss < PREFERENCE_LOSSES; loss++) {
        struct preference_options o = PREFERENCE_DEFAULTS;
        o.losses = preference_loss_name((enum preference_loss)loss);
        if (loss == PREFERENCE_EXO_PAIR || loss == PREFERENCE_ROBUST || loss == PREFERENCE_SIGMOID || loss == PREFERENCE_CPO)
            o.label_smoothing = 0.05;
        if (loss < PREFERENCE_SFT)
            o.ld_alpha = 0.4;
        o.train_prompt = loss == PREFERENCE_ORPO;
        struct preference p;
        struct err e = ERR_INIT;
        struct preference_state s = {0.02, 4};
        struct preference_gradient g[MOST];
        struct preference_result r;
        double worst = 0;
        bool good = preference_init(&p, &o, &e) == 0;
        struct preference_totals t = preference_totals(&p, b.s, b.n);
        good = good && preference_evaluate(&p, &t, &s, false, b.s, b.n, g, &r, &e) == 0;
        for (size_t i = 0; good && i < b.n; i++) {
            const double got[] = {g[i].shared[0], g[i].rest[0], g[i].shared[1], g[i].rest[1], g[i].prompt};
            for (int k = 0; k < (preference_needs(&p).labelled ? 2 : 5); k++)
                worst = fmax(worst, fabs(got[k] - (moved(&p, &b, &s, i, k, 1e-5) - moved(&p, &b, &s, i, k, -1e-5)) / 2e-5));
        }
        if (!ok(good && worst < 1e-6, "%s: the derivative is the value's", o.losses))
            printf("# off by %g; %s\n", worst, e.text);
    }
}

/* No combination of finite sums gives NaN, and derivatives are finite. */
static void test_extremes(void)
{
    static const double values[] = {0, -1e-300, -1e-9, -1, -800, -1e4, -1e9, 30};
    enum { N = sizeof values / sizeof *values };
    static const char *const divergences[] = {"reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"};
    for (int loss = 0; loss < PREFERENCE_LOSSES; loss++)
        for (int divergence = 0; divergence < 4; divergence++) {
            struct preference_options o = PREFERENCE_DEFAULTS;
            o.losses = preference_loss_name((enum preference_loss)loss);
            o.f_divergence = divergences[divergence];
            o.label_smoothing = loss == PREFERENCE_EXO_PAIR ? 1e-3 : 0;
            struct preference p;
            struct err e = ERR_INIT;
            if (preference_init(&p, &o, &e) < 0)
                continue;
            int bad = 0;
            for (int i = 0; i < N * N * N * N; i++) {
                struct preference_sample s = {.label = i & 1};
                s.answer[0] = (struct preference_answer){.count = 1, .shared = values[i % N], .reference_shared = values[i / N % N]};
                s.answer[1] = (struct preference_answer){.count = 3, .shared = values[i / N / N % N], .reference_shared = values[i / N / N / N]};
                struct preference_totals t = preference_totals(&p, &s, 1);
                struct preference_state state = {0, 0};
                struct preference_gradient g;
                struct preference_result r;
                if (preference_evaluate(&p, &t, &state, true, &s, 1, &g, &r, &e) < 0 || !isfinite(r.loss) || !isfinite(g.shared[0]) || !isfinite(g.shared[1]))
                    bad++;
            }
            if (!ok(bad == 0, "%s, %s: finite for all sums", o.losses, o.f_divergence))
                printf("# %d are not; %s\n", bad, e.text);
        }
}

static void refused(struct preference_options o, const char *text)
{
    struct preference p;
    struct err e = ERR_INIT;
    bool good = preference_init(&p, &o, &e) < 0 && strstr(e.text, text);
    if (!ok(good, "refused: %s", text))
        printf("# %s\n", e.set ? e.text : "accepted");
}

#define WITH(...) ((struct preference_options){.losses = "sigmoid", .beta = 0.1, .f_divergence = "reverse_kl", .f_alpha = 0.5, .ld_alpha = 1, .discopop_tau = 0.05, \
                                               .simpo_gamma = 0.5, .alpha = 0.25, .desirable_weight = 1, .undesirable_weight = 1, __VA_ARGS__})

static void test_refusals(void)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
    refused(WITH(.losses = ""), "an item is empty");
    refused(WITH(.losses = "sigmoid,"), "an item is empty");
    refused(WITH(.losses = "sigmoit"), "'sigmoit' is not a loss; did you mean 'sigmoid'?");
    refused(WITH(.losses = "xyzzy"), "'xyzzy' is not a loss (dpo-train(1) lists them)");
    refused(WITH(.losses = "sigmoid:"), "weight '' of sigmoid");
    refused(WITH(.losses = "sigmoid:0"), "weight '0' of sigmoid");
    refused(WITH(.losses = "sigmoid:nan"), "weight 'nan' of sigmoid");
    refused(WITH(.losses = "sigmoid:1x"), "weight '1x' of sigmoid");
    refused(WITH(.losses = "sigmoid:-1"), "weight '-1' of sigmoid");
    refused(WITH(.losses = "sigmoid,ipo,sigmoid:2"), "sigmoid is there twice");
    refused(WITH(.losses = "kto,sft"), "kto and sft: a loss of labelled answers stands alone");
    refused(WITH(.losses = "sigmoid,bco"), "sigmoid and bco: a loss of labelled answers stands alone");
    refused(WITH(.losses = "simpo,sigmoid"), "simpo and sigmoid: beside a loss without reference only sft can stand");
    refused(WITH(.losses = "orpo,cpo"), "orpo and cpo: beside a loss without reference only sft can stand");
    refused(WITH(.beta = 0), "--beta 0: expected a number from 1e-06 to 1000");
    refused(WITH(.beta = NAN), "--beta nan");
    refused(WITH(.label_smoothing = -0.1), "--label-smoothing -0.1");
    refused(WITH(.label_smoothing = 0.5), "--label-smoothing 0.5: expected less than 0.5");
    refused(WITH(.losses = "hinge", .label_smoothing = 0.1), "--label-smoothing is for sigmoid,");
    refused(WITH(.losses = "exo_pair"), "exo_pair needs --label-smoothing above 0");
    refused(WITH(.f_divergence = "kl"), "--f-divergence 'kl' is unknown");
    refused(WITH(.losses = "sigmoid,nca_pair", .f_divergence = "forward_kl"), "and sft beside them), not for nca_pair");
    refused(WITH(.losses = "sft", .f_divergence = "forward_kl"), "--f-divergence forward_kl is for");
    refused(WITH(.f_alpha = 2), "--f-alpha is for --f-divergence alpha_divergence, which is reverse_kl");
    refused(WITH(.losses = "sft", .beta = 0.2), "--beta is for losses of preferences; --loss is sft");
    refused(WITH(.f_divergence = "alpha_divergence", .f_alpha = 11), "--f-alpha 11");
    refused(WITH(.ld_alpha = 1.5), "--ld-alpha 1.5: expected a number from 0 to 1");
    refused(WITH(.losses = "simpo", .ld_alpha = 0.5), "--ld-alpha is for losses of pairs with a reference");
    refused(WITH(.losses = "kto", .wpo = true), "--wpo is for losses of pairs with a reference");
    refused(WITH(.losses = "sigmoid,aot", .wpo = true), "--wpo weights pairs, but aot");
    refused(WITH(.losses = "discopop", .discopop_tau = 0), "--discopop-tau 0");
    refused(WITH(.discopop_tau = 0.1), "--discopop-tau is for discopop");
    refused(WITH(.losses = "cpo", .simpo_gamma = 1), "--simpo-gamma is for simpo and alphapo");
    refused(WITH(.losses = "simpo", .alpha = 1), "--alphapo-alpha is for alphapo");
    refused(WITH(.losses = "alphapo", .alpha = 0), "--alphapo-alpha 0 is simpo");
    refused(WITH(.desirable_weight = 2), "--desirable-weight and --undesirable-weight are for kto");
    refused(WITH(.losses = "kto", .undesirable_weight = -1), "--undesirable-weight -1");
    refused(WITH(.losses = "kto", .desirable_weight = 0, .undesirable_weight = 0), "are both 0: nothing would be trained");
    refused(WITH(.losses = "discopop", .discopop_tau = 1e-4), "--discopop-tau 0.0001: expected a number from 0.001 to 1");
    refused(WITH(.train_prompt = true), "--train-prompt is for orpo");
#pragma GCC diagnostic pop
}

static void test_order(void)
{
    struct err e = ERR_INIT;
    struct preference p;
    struct preference_options o = PREFERENCE_DEFAULTS;
    o.losses = "sft:3,ipo,sigmoid:2";
    is_int(preference_init(&p, &o, &e), 0, "a list");
    ok(p.n_terms == 3 && p.terms[0].loss == PREFERENCE_SIGMOID && p.terms[0].weight == 2 && p.terms[1].loss == PREFERENCE_IPO && p.terms[2].loss == PREFERENCE_SFT &&
           p.terms[2].weight == 3, "its terms have one order");
}

static struct preference_needs needs_of(const char *losses)
{
    struct preference_options o = PREFERENCE_DEFAULTS;
    struct preference p;
    struct err e = ERR_INIT;
    o.losses = losses;
    return preference_init(&p, &o, &e) == 0 ? preference_needs(&p) : (struct preference_needs){0};
}

static void test_needs(void)
{
    struct preference_needs n = needs_of("sigmoid:0.8,sft:1");
    ok(n.reference && !n.step && !n.labelled && !n.mismatched && !n.agreement && !n.prompt, "sigmoid needs a reference, not the whole step");
    n = needs_of("sft");
    ok(!n.reference && !n.step, "sft needs neither");
    n = needs_of("orpo");
    ok(!n.reference && !n.step, "orpo needs neither");
    n = needs_of("aot");
    ok(n.reference && n.step, "aot needs both");
    n = needs_of("sigmoid,bco_pair");
    ok(n.reference && n.step, "bco_pair needs both");
    n = needs_of("kto");
    ok(n.labelled && n.reference && n.step && n.mismatched, "kto needs mismatched answers");
    n = needs_of("apo_zero_unpaired");
    ok(n.labelled && n.reference && !n.step && !n.mismatched, "apo_zero_unpaired does not");
}

/* Without needs.step a part of the samples gets the gradients that it gets in the whole step, bit for bit. */
static void test_parts(json_t *batches)
{
    struct batch b = read_batch(json_object_get(batches, "five"));
    struct preference_options o = PREFERENCE_DEFAULTS;
    o.losses = "sigmoid:0.7,ipo,sft:0.3,apo_down";
    o.ld_alpha = 0.5;
    struct preference p;
    struct err e = ERR_INIT;
    struct preference_state s = {0, 0};
    struct preference_gradient whole[MOST], part[MOST];
    struct preference_result r;
    bool good = preference_init(&p, &o, &e) == 0;
    struct preference_totals t = preference_totals(&p, b.s, b.n);
    good = good && preference_evaluate(&p, &t, &s, true, b.s, b.n, whole, &r, &e) == 0 && preference_evaluate(&p, &t, &s, true, b.s, 2, part, &r, &e) == 0 &&
           preference_evaluate(&p, &t, &s, true, b.s + 2, 3, part + 2, &r, &e) == 0;
    ok(good && !memcmp(whole, part, b.n * sizeof *part), "gradients by parts are those of the step");
}

static void bad_sum(double shared, double reference, uint32_t count, const char *text)
{
    struct preference_options o = PREFERENCE_DEFAULTS;
    struct preference p;
    struct err e = ERR_INIT;
    struct preference_state s = {0, 0};
    struct preference_result r;
    struct preference_sample x = {.answer = {{.count = 1}, {.count = count, .shared = shared, .reference_rest = reference}}};
    bool good = preference_init(&p, &o, &e) == 0;
    struct preference_totals t = preference_totals(&p, &x, 1);
    good = good && preference_evaluate(&p, &t, &s, true, &x, 1, NULL, &r, &e) < 0;
    is_str(good ? e.text : "accepted", text, text);
}

int main(void)
{
    test_order();
    json_error_t je;
    json_t *root = json_load_file("tests/golden/preference.json", 0, &je), *batches = json_object_get(root, "batches");
    test_golden();
    test_differences(batches);
    test_parts(batches);
    test_extremes();
    test_refusals();
    test_needs();
    bad_sum(NAN, 0, 1, "sample 0: rejected answer: log-probability is nan");
    bad_sum(-INFINITY, 0, 1, "sample 0: rejected answer: log-probability is -inf");
    bad_sum(-1, INFINITY, 1, "sample 0: rejected answer: reference log-probability is inf");
    bad_sum(-1, 0, 0, "sample 0: rejected answer: no trained token");
    json_decref(root);
    return tap_end();
}
