/* Ten steps of preference training against TRL (tests/golden/make_dpo.py): the reference, packs of forked samples, losses, optimizer. */
#include <jansson.h>
#include <math.h>

#include "base/arena.h"
#include "model/lora.h"
#include "model/weights_train.h"
#include "tests/unit/tap.h"
#include "tests/unit/tiny_model.h"
#include "train/optimizer.h"
#include "train/preference_reference.h"
#include "train/preference_step.h"
#include "train/schedule.h"

enum { MOST = 10, ROWS = 2048 };

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
    struct pack pack;
    struct batches batches;
    char *bytes;                /* of the token file */
    struct token_file *tokens;
    struct ref_logprobs *reference;
    struct preference_step step;
    double worst_loss, worst_norm, worst_metric;
    char worst_name[64];
    int metrics;
};

static void make_tokens(struct run *r)
{
    const struct golden *g = r->g;
    struct err e = ERR_INIT;
    struct token_provenance p = {.vocab = 256};
    size_t size;
    memset(p.tokenizer, '0', SHA256_HEX - 1);
    FILE *out = open_memstream(&r->bytes, &size);
    struct token_writer *w = token_writer_begin(out, "tokens", preference_needs(&r->p).labelled ? TOKEN_KIND_LABELLED : TOKEN_KIND_PAIRS, &p, &e);
    for (int i = 0; w && i < g->n; i++) {
        uint8_t mask[ROWS] = {0};
        struct token_sample s = {.ids = (const uint32_t *)g->ids + g->at[i], .mask = mask, .n = (uint32_t)(g->at[i + 1] - g->at[i]),
                                 .prompt = (uint32_t)g->prompt[i], .chosen = (uint32_t)g->first[i], .label = g->label[i]};
        memset(mask + s.prompt, 1, s.n - s.prompt);
        if (token_writer_put(w, &s, &e) < 0)
            tiny_die(&e);
    }
    if (!w || token_writer_end(w, p.tokenizer, &e) < 0)
        tiny_die(&e);
    fclose(out);
    if (!(r->tokens = token_file_parse(r->bytes, size, "tokens", &e)))
        tiny_die(&e);
}

/* The model as it starts is the reference. */
static void make_reference(struct run *r, const char *dir)
{
    struct err e = ERR_INIT;
    struct preference_look look;
    char *path = mem_printf("%s/reference", dir);
    const struct preference_source s = {.model = dir, .dtype = "f32", .mismatched = preference_needs(&r->p).mismatched, .rows = 100, .memory = -1};
    if (preference_reference_look(&s, r->tokens, &look, &e) < 0 || preference_reference_write(&s, r->tokens, path, false, &e) != 0 ||
        !(r->reference = preference_reference_open(path, &look.want, r->tokens, s.mismatched, &e)) || unlink(path) != 0)
        tiny_die(&e);
    free(path);
}

static void start_run(struct run *r, const char *dir, int64_t rows)
{
    struct err e = ERR_INIT;
    bool lora = json_object_get(r->g->settings, "rank") != NULL;
    const struct lora_options lo = {(int)setting(r->g, "rank", 0), setting(r->g, "alpha", 0), 0, false, "all-linear", "none", NULL};
    if (!(r->m = model_open(dir, kernels_open("cpu", &e), &e)))
        tiny_die(&e);
    model_set_dtype(r->m, "f32");
    if (lora)
        r->lora = lora_attach(r->m, &lo, &e);
    else
        r->weights = weights_train_select(r->m, dir, NULL, &e);
    if (e.set)
        tiny_die(&e);
    optimizer_init(&r->optimizer, r->m->params, r->m->n_params);
    r->d = decoder_new(r->m, ROWS, ROWS, true, false);
    pack_init(&r->pack, rows, ROWS);
    arena_init(&r->arena);
    optimizer_layout(&r->optimizer, &r->arena);
    decoder_layout(r->d, &r->arena);
    if (arena_commit(&r->arena, r->m->k->alloc, r->m->k->free, &e) < 0)
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
        snprintf(r->worst_name, sizeof r->worst_name, "%s", name);
    }
}

/* TRL's orpo and cpo have the mean scores of prompts and padding, too. */
static void compare_told(struct run *r, int step, const struct train_objective *o)
{
    json_t *line = json_object(), *v;
    const char *key;
    o->tell(o->arg, line);
    json_object_foreach(line, key, v)
        if (r->step.needs.reference || strncmp(key, "logits/", 7))
            compare_metric(r, step, key, json_number_value(v));
    json_decref(line);
}

static void one_step(struct run *r, const struct train_objective *o, const struct schedule *lr, int step)
{
    struct err e = ERR_INIT;
    const struct kernels *k = r->m->k;
    const double *losses = st_find(r->g->file, "loss")->data, *norms = st_find(r->g->file, "grad_norm")->data;
    struct batches_step batch;
    double loss;
    batches_next(&r->batches, &batch);
    optimizer_zero_grad(&r->optimizer, k);
    const struct objective_step s = {r->d, &r->pack, r->tokens, &batch, 0, step + 1};
    if (o->gradients(o->arg, &s, &loss, &e) != OBJECTIVE_DONE)
        tiny_die(&e);
    const struct optimizer_options oo = {schedule_lr(lr, step + 1), 0.9, 0.999, 1e-8, setting(r->g, "weight_decay", 0), setting(r->g, "clip", 0)};
    bool finite;
    double norm = optimizer_step(&r->optimizer, k, &oo, step + 1, &finite);
    o->made(o->arg);
    r->worst_loss = fmax(r->worst_loss, fabs(loss / losses[step] - 1));
    r->worst_norm = fmax(r->worst_norm, fabs(norm / norms[step] - 1));
    compare_told(r, step, o);
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

/* rows: of a pack; a step is one pack or several. */
static void check(const char *name, int64_t rows)
{
    struct err e = ERR_INIT;
    struct golden g;
    struct schedule lr;
    open_golden(&g, name);
    struct preference_options o = read_options(&g);
    struct run *r = mem_zalloc(1, sizeof *r);
    int steps = (int)setting(&g, "steps", 0);
    r->g = &g;
    if (preference_init(&r->p, &o, &e) < 0 || schedule_init(&lr, "cosine", setting(&g, "lr", 0), setting(&g, "warmup", 0), steps, &e) < 0)
        tiny_die(&e);
    char *dir = tiny_model_write(st_meta(g.file, "config"), NULL);
    const struct batches_options order = {.batch = (int64_t)setting(&g, "batch", 0)};
    make_tokens(r);
    if (batches_init(&r->batches, r->tokens, &order, &e) < 0)
        tiny_die(&e);
    start_run(r, dir, rows);
    preference_step_init(&r->step, &r->p, 160, ROWS);
    if (r->step.needs.reference)
        make_reference(r, dir);
    r->step.ref = r->reference;
    r->step.check_start = r->step.needs.reference;
    r->step.k = r->m->k;
    const struct train_objective objective = preference_objective(&r->step);
    for (int i = 0; i < steps; i++)
        one_step(r, &objective, &lr, i);
    ok(r->worst_loss < 1e-4, "%s: losses (off by %.2g)", name, r->worst_loss);
    ok(r->worst_norm < 1e-3, "%s: gradient norms (off by %.2g)", name, r->worst_norm);
    ok(r->metrics >= 6 * steps && r->worst_metric < 1e-3, "%s: %d metrics (off by %.2g, %s)", name, r->metrics, r->worst_metric, r->worst_name);
    compare_final(r);
    preference_step_release(&r->step);
    ref_logprobs_close(r->reference);
    batches_release(&r->batches);
    token_file_close(r->tokens);
    free(r->bytes);
    pack_release(&r->pack);
    decoder_free(r->d);
    arena_release(&r->arena);
    optimizer_release(&r->optimizer);
    lora_detach(r->lora);
    weights_train_detach(r->weights);
    model_close(r->m);
    free(dir);
    json_decref(g.settings);
    st_close(g.file);
    free(r);
}

int main(void)
{
    check("sigmoid", ROWS);
    check("sigmoid-full", 150);
    check("weighted", 150);
    check("ipo", ROWS);
    check("orpo", 150);
    check("simpo", ROWS);
    check("kto", 150);
    check("cpo", ROWS);
    return tap_end();
}
