/* Ten steps of preference training against TRL (tests/golden/make_dpo.py): forked samples, losses of the whole step, optimizer. */
#include "train/preference.h"

#include <jansson.h>
#include <math.h>

#include "base/arena.h"
#include "model/lora.h"
#include "model/weights_train.h"
#include "tests/unit/tap.h"
#include "tests/unit/tiny_model.h"
#include "train/optimizer.h"
#include "train/schedule.h"

enum { MOST = 10, ROWS = 2048, NONE = -1, PROMPT = 2 };

struct golden {
    const char *name;
    struct st_file *file;
    json_t *settings;
    const int32_t *ids, *prompt, *first, *second;
    const uint8_t *label;
    int64_t at[MOST + 1]; /* where each sample's ids begin */
    int n;
};

static double setting(const struct golden *g, const char *key, double otherwise)
{
    json_t *v = json_object_get(g->settings, key);
    return v ? json_number_value(v) : otherwise;
}

static void open_golden(struct golden *g, const char *name)
{
    struct err e = ERR_INIT;
    char *path = mem_printf("tests/golden/dpo/%s.safetensors", name);
    *g = (struct golden){.name = name, .file = st_open(path, &e)};
    if (!g->file)
        tiny_die(&e);
    g->settings = json_loads(st_meta(g->file, "settings"), 0, NULL);
    g->ids = st_find(g->file, "ids")->data;
    g->prompt = st_find(g->file, "prompt")->data;
    g->first = st_find(g->file, "first")->data;
    g->second = st_find(g->file, "second")->data;
    g->label = st_find(g->file, "label")->data;
    g->n = (int)st_find(g->file, "prompt")->numel;
    for (int i = 0; i < g->n; i++)
        g->at[i + 1] = g->at[i] + g->prompt[i] + g->first[i] + g->second[i];
    free(path);
}

/* ---- a step's rows ---- */

struct step {
    const struct preference *p;
    struct preference_needs needs;
    int items[MOST], n;
    int32_t ids[ROWS], targets[ROWS];
    int part[ROWS], of[ROWS], place[ROWS]; /* of a row with a target: answer or PROMPT, sample, index of the token in the answer */
    int64_t start[MOST + 1];
    struct batch_fork forks[MOST];
    struct batch b;
    struct preference_sample samples[MOST];
};

static void add_row(struct step *s, int32_t id, int32_t target, int part, int of, int place)
{
    int64_t i = s->b.n++;
    s->ids[i] = id, s->targets[i] = target;
    s->part[i] = part, s->of[i] = of, s->place[i] = place;
}

/* An answer begins with the prompt's last token, which predicts its first. */
static void add_answer(struct step *s, int32_t last, const int32_t *answer, int n, int part, int of)
{
    for (int i = 0; i <= n; i++)
        add_row(s, i ? answer[i - 1] : last, i < n ? answer[i] : -1, i < n ? part : NONE, of, i);
    s->samples[of].answer[part].count = (uint32_t)n;
}

static void add_sample(struct step *s, const struct golden *g, int item)
{
    int k = s->n++, before = (item + g->n - 1) % g->n;
    const int32_t *prompt = g->ids + g->at[item], *answer = prompt + g->prompt[item], *other = answer + g->first[item];
    int p = g->prompt[item], n_other = g->second[item];
    if (s->needs.mismatched)
        other = g->ids + g->at[before] + g->prompt[before], n_other = g->first[before];
    s->items[k] = item;
    s->samples[k] = (struct preference_sample){.label = g->label[item], .prompt_count = (uint32_t)p - 1};
    for (int i = 0; i + 1 < p; i++)
        add_row(s, prompt[i], s->needs.prompt ? prompt[i + 1] : -1, s->needs.prompt ? PROMPT : NONE, k, i);
    add_answer(s, prompt[p - 1], answer, g->first[item], 0, k);
    if (n_other) {
        add_answer(s, prompt[p - 1], other, n_other, 1, k);
        s->forks[k] = (struct batch_fork){p - 1, p + g->first[item]};
    }
    s->start[s->n] = s->b.n;
    s->b.n_seq = s->n;
}

static void begin_step(struct step *s, const struct preference *p)
{
    s->p = p;
    s->needs = preference_needs(p);
    s->n = 0;
    memset(s->forks, 0, sizeof s->forks);
    s->b = (struct batch){.ids = s->ids, .targets = s->targets, .start = s->start, .forks = s->forks};
}

/* Tokens that the other answer of the pair has a counterpart of. */
static bool is_shared(const struct step *s, int64_t row)
{
    const struct preference_answer *y = s->samples[s->of[row]].answer;
    uint32_t n = y[0].count < y[1].count ? y[0].count : y[1].count;
    return s->needs.labelled || s->place[row] < (int)n;
}

static void add_sums(struct step *s, const float *loss)
{
    for (int64_t i = 0; i < s->b.n; i++) {
        struct preference_sample *x = &s->samples[s->of[i]];
        if (s->part[i] == PROMPT)
            x->prompt -= (double)loss[i];
        else if (s->part[i] != NONE)
            *(is_shared(s, i) ? &x->answer[s->part[i]].shared : &x->answer[s->part[i]].rest) -= (double)loss[i];
    }
}

/* Means of log p - log sum p^2 over an answer's tokens. */
static void add_agreement(struct step *s, const struct decoder_rows *rows)
{
    for (int64_t i = 0; i < s->b.n; i++)
        if (s->part[i] == 0 || s->part[i] == 1) {
            struct preference_answer *y = &s->samples[s->of[i]].answer[s->part[i]];
            y->agreement += (-(double)rows->loss[i] - log((double)rows->squares[i])) / y->count;
        }
}

/* ---- the run ---- */

struct run {
    const struct golden *g;
    struct preference p;
    struct model *m;
    struct lora_set *lora;
    struct weights_train *weights;
    struct optimizer optimizer;
    struct arena arena;
    struct decoder *d;
    struct preference_answer reference[MOST][2];
    struct preference_state state;
    struct preference_result result;
    struct step *step;
    float mean[ROWS], entropy[ROWS], loss[ROWS], squares[ROWS];
    double worst_loss, worst_norm, worst_metric;
    const char *worst_name;
    int metrics;
};

static int weigh(void *arg, const struct batch *b, const struct decoder_rows *rows, float *weight, struct err *e)
{
    struct run *r = arg;
    struct step *s = r->step;
    struct preference_gradient g[MOST];
    add_sums(s, rows->loss);
    if (s->needs.agreement)
        add_agreement(s, rows);
    for (int i = 0; i < s->n && s->needs.reference; i++)
        for (int k = 0; k < 2; k++) {
            s->samples[i].answer[k].reference_shared = r->reference[s->items[i]][k].shared;
            s->samples[i].answer[k].reference_rest = r->reference[s->items[i]][k].rest;
        }
    struct preference_totals t = preference_totals(&r->p, s->samples, (size_t)s->n);
    if (preference_evaluate(&r->p, &t, &r->state, true, s->samples, (size_t)s->n, g, &r->result, e) < 0)
        return -1;
    r->state = r->result.state;
    for (int64_t i = 0; i < b->n; i++) {
        const struct preference_gradient *x = &g[s->of[i]];
        if (s->part[i] != NONE) /* the row's loss is -log p */
            weight[i] = (float)-(s->part[i] == PROMPT ? x->prompt : is_shared(s, i) ? x->shared[s->part[i]] : x->rest[s->part[i]]);
    }
    return 0;
}

/* The model as it starts is the reference. */
static void make_reference(struct run *r)
{
    struct err e = ERR_INIT;
    struct decoder_result result;
    const struct decoder_rows rows = {.loss = r->loss};
    for (int i = 0; i < r->g->n; i++) {
        begin_step(r->step, &r->p);
        add_sample(r->step, r->g, i);
        if (decoder_measure(r->d, &r->step->b, &rows, &result, &e) < 0)
            tiny_die(&e);
        add_sums(r->step, r->loss);
        memcpy(r->reference[i], r->step->samples[0].answer, sizeof r->reference[i]);
    }
}

static void start_run(struct run *r, const char *dir)
{
    struct err e = ERR_INIT;
    bool lora = json_object_get(r->g->settings, "rank") != NULL;
    const struct lora_options lo = {(int)setting(r->g, "rank", 0), setting(r->g, "alpha", 0), 0, false, "all-linear", "none", NULL};
    if (!(r->m = model_open(dir, kernels_open("cpu", &e), &e)))
        tiny_die(&e);
    if (lora)
        r->lora = lora_attach(r->m, &lo, &e);
    else
        r->weights = weights_train_select(r->m, dir, NULL, &e);
    if (e.set)
        tiny_die(&e);
    optimizer_init(&r->optimizer, r->m->params, r->m->n_params);
    r->d = decoder_new(r->m, ROWS, MOST, true, false);
    arena_init(&r->arena);
    optimizer_layout(&r->optimizer, &r->arena);
    decoder_layout(r->d, &r->arena);
    if (arena_commit(&r->arena, &e) < 0)
        tiny_die(&e);
    optimizer_layout(&r->optimizer, &r->arena);
    decoder_layout(r->d, &r->arena);
    if (!lora)
        weights_train_start(r->weights);
    else if (lora_start(r->lora, 1, &e) < 0)
        tiny_die(&e);
    for (int i = 0; i < r->m->n_params; i++)
        if (strstr(r->m->params[i]->name, "lora_A"))
            formula_fill(r->m->params[i]->value, r->m->params[i]->name, (uint64_t)r->m->params[i]->numel);
}

static void compare_metric(struct run *r, int step, const char *name, double got)
{
    char *key = mem_printf("metric.%s", name);
    const struct st_tensor *t = st_find(r->g->file, key);
    double want = t ? ((const double *)t->data)[step] : NAN, off = fabs(got - want) / fmax(1, fabs(want));
    free(key);
    if (!t)
        return;
    r->metrics++;
    if (!(off <= r->worst_metric)) {
        r->worst_metric = off;
        r->worst_name = name;
    }
}

/* Means over the rows of the answers. TRL's orpo and cpo take other rows: prompts and padding. */
static void compare_rows(struct run *r, int step)
{
    const struct step *s = r->step;
    double mean[2] = {0}, entropy = 0;
    int64_t count[2] = {0};
    for (int64_t i = 0; i < s->b.n; i++) {
        if (s->part[i] != 0 && (s->part[i] != 1 || s->needs.labelled))
            continue;
        int k = s->needs.labelled ? !s->samples[s->of[i]].label : s->part[i];
        mean[k] += (double)r->mean[i];
        entropy += (double)r->entropy[i];
        count[k]++;
    }
    compare_metric(r, step, "logits/chosen", mean[0] / (double)count[0]);
    compare_metric(r, step, "logits/rejected", mean[1] / (double)count[1]);
    compare_metric(r, step, "entropy", entropy / (double)(count[0] + count[1]));
}

static void one_step(struct run *r, const struct schedule *lr, int step)
{
    struct err e = ERR_INIT;
    struct decoder_result result;
    const struct decoder_rows rows = {.loss = r->loss, .mean = r->mean, .entropy = r->entropy, .squares = r->squares};
    const struct kernels *k = r->m->k;
    const double *losses = st_find(r->g->file, "loss")->data, *norms = st_find(r->g->file, "grad_norm")->data;
    optimizer_zero_grad(&r->optimizer, k);
    if (decoder_weighed(r->d, &r->step->b, &rows, weigh, r, 0, step, &result, &e) != 0)
        tiny_die(&e);
    decoder_end_step(r->d);
    double norm = optimizer_grad_norm(&r->optimizer, k);
    const struct optimizer_options o = {schedule_lr(lr, step + 1), 0.9, 0.999, 1e-8, setting(r->g, "weight_decay", 0), setting(r->g, "clip", 0)};
    optimizer_step(&r->optimizer, k, &o, step + 1, norm);
    r->worst_loss = fmax(r->worst_loss, fabs(r->result.loss / losses[step] - 1));
    r->worst_norm = fmax(r->worst_norm, fabs(norm / norms[step] - 1));
    for (int i = 0; i < PREFERENCE_METRICS; i++)
        compare_metric(r, step, preference_metric_name((enum preference_metric)i), r->result.metrics[i]);
    if (r->step->needs.reference)
        compare_rows(r, step);
}

static void compare_final(const struct run *r)
{
    double worst = 0;
    int found = 0;
    for (int i = 0; i < r->m->n_params; i++) {
        const struct param *p = r->m->params[i];
        char *name = mem_printf("final.%s", p->name);
        const struct st_tensor *t = st_find(r->g->file, name);
        const float *want = t ? t->data : NULL;
        double diff = 0, top = 1e-30;
        free(name);
        for (int64_t k = 0; t && k < p->numel; k++) {
            diff = fmax(diff, fabs((double)p->value[k] - (double)want[k]));
            top = fmax(top, fabs((double)want[k]));
        }
        worst = fmax(worst, diff / top);
        found += t != NULL;
    }
    ok(found >= 3 && worst < 1e-3, "%s: final tensors (%d, off by %.2g)", r->g->name, found, worst);
}

static struct preference_options read_options(const struct golden *g)
{
    struct preference_options o = PREFERENCE_DEFAULTS;
    o.losses = json_string_value(json_object_get(g->settings, "losses"));
    o.beta = setting(g, "beta", o.beta);
    o.simpo_gamma = setting(g, "simpo_gamma", o.simpo_gamma);
    o.desirable_weight = setting(g, "desirable_weight", 1);
    o.ld_alpha = setting(g, "ld_alpha", 1);
    o.wpo = json_is_true(json_object_get(g->settings, "wpo"));
    o.train_prompt = json_is_true(json_object_get(g->settings, "train_prompt"));
    return o;
}

static void check(const char *name)
{
    struct err e = ERR_INIT;
    struct golden g;
    struct schedule lr;
    open_golden(&g, name);
    struct preference_options o = read_options(&g);
    struct run *r = mem_zalloc(1, sizeof *r);
    int steps = (int)setting(&g, "steps", 0), batch = (int)setting(&g, "batch", 0), next = 0;
    r->g = &g;
    r->step = mem_zalloc(1, sizeof *r->step);
    if (preference_init(&r->p, &o, &e) < 0 || schedule_init(&lr, "cosine", setting(&g, "lr", 0), setting(&g, "warmup", 0), steps, &e) < 0)
        tiny_die(&e);
    char *dir = tiny_model_write(st_meta(g.file, "config"), NULL);
    start_run(r, dir);
    make_reference(r);
    for (int i = 0; i < steps; i++) {
        begin_step(r->step, &r->p);
        for (int k = 0; k < batch && next < g.n; k++)
            add_sample(r->step, &g, next++);
        next = next == g.n ? 0 : next;
        one_step(r, &lr, i);
    }
    ok(r->worst_loss < 1e-4, "%s: losses (off by %.2g)", name, r->worst_loss);
    ok(r->worst_norm < 1e-3, "%s: gradient norms (off by %.2g)", name, r->worst_norm);
    ok(r->metrics >= 6 * steps && r->worst_metric < 1e-3, "%s: %d metrics (off by %.2g, %s)", name, r->metrics, r->worst_metric, r->worst_name);
    compare_final(r);
    decoder_free(r->d);
    arena_release(&r->arena);
    optimizer_release(&r->optimizer);
    lora_detach(r->lora);
    weights_train_detach(r->weights);
    model_close(r->m);
    tiny_model_remove(dir);
    json_decref(g.settings);
    st_close(g.file);
    free(r->step);
    free(r);
}

int main(void)
{
    check("sigmoid");
    check("sigmoid-full");
    check("weighted");
    check("ipo");
    check("orpo");
    check("simpo");
    check("kto");
    check("cpo");
    return tap_end();
}
