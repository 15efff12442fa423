#include "train/preference_run.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/progress.h"
#include "cli/stop.h"
#include "model/linear.h"
#include "train/preference_cost.h"
#include "train/session.h"

static enum token_kind kind_of(const struct preference_run *r)
{
    return r->needs.labelled ? TOKEN_KIND_LABELLED : TOKEN_KIND_PAIRS;
}

/* ---- inputs ---- */

static int check_data(const struct preference_run *r, const struct token_file *t, struct err *e)
{
    if (r->needs.mismatched && t->n_samples < 2)
        return err_set(e, "%s: holds one sample, expected two or more: --loss %s compares with the answer to another prompt", t->path, r->options.losses);
    return 0;
}

static void show_begin(int64_t samples)
{
    msg_info("reference: log-probabilities of %lld samples", (long long)samples);
    progress_begin("sample", 0, samples);
}

static void show_progress(int64_t done)
{
    progress_step(done, 0, "reference");
}

int preference_run_init(struct preference_run *r, struct err *e)
{
    if (preference_init(&r->p, &r->options, e) < 0)
        return -1;
    r->needs = preference_needs(&r->p);
    r->source = (struct preference_source){.model = r->ref_model ? r->ref_model : cli.model, .adapter = r->ref_model ? NULL : r->adapter, .other = r->ref_model != NULL, .dtype = cli.dtype,
                                           .mismatched = r->needs.mismatched, .rows = r->rows, .memory = -1, .stop = stop_requested,
                                           .begin = show_begin, .progress = show_progress};
    if (!r->needs.reference && (r->ref_model || r->ref_logprobs))
        return err_set(e, "--loss %s needs no reference, so %s has no use", r->options.losses, r->ref_model ? "--ref-model" : "--ref-logprobs");
    if (r->sync_every && (!r->needs.reference || r->ref_model))
        return err_set(e, r->ref_model ? "--sync-ref moves the reference towards the model, so --ref-model cannot be it" : "--loss %s needs no reference, so --sync-ref has no use",
                       r->options.losses);
    return 0;
}

static void describe(const struct preference_run *r, json_t *j)
{
    const struct preference_options *o = &r->p.o;
    json_t *terms = json_object();
    for (int i = 0; i < r->p.n_terms; i++)
        json_object_set_new(terms, preference_loss_name(r->p.terms[i].loss), json_real(r->p.terms[i].weight));
    json_object_set_new(j, "loss", terms);
    json_object_set_new(j, "beta", json_real(o->beta));
    json_object_set_new(j, "label_smoothing", json_real(o->label_smoothing));
    json_object_set_new(j, "f_divergence", json_string(o->f_divergence));
    json_object_set_new(j, "f_alpha", json_real(o->f_alpha));
    json_object_set_new(j, "ld_alpha", json_real(o->ld_alpha));
    json_object_set_new(j, "wpo", json_boolean(o->wpo));
    json_object_set_new(j, "discopop_tau", json_real(o->discopop_tau));
    json_object_set_new(j, "simpo_gamma", json_real(o->simpo_gamma));
    json_object_set_new(j, "alphapo_alpha", json_real(o->alpha));
    json_object_set_new(j, "desirable_weight", json_real(o->desirable_weight));
    json_object_set_new(j, "undesirable_weight", json_real(o->undesirable_weight));
    json_object_set_new(j, "train_prompt", json_boolean(o->train_prompt));
    json_object_set_new(j, "sync_ref", json_integer(r->sync_every));
    json_object_set_new(j, "sync_mix", json_real(r->sync_mix));
    json_object_set_new(j, "ref_model", r->ref_model ? json_string(r->look[0].want.model) : json_null());
    json_object_set_new(j, "ref_logprobs", r->ref_logprobs ? json_string(r->ref[0]->hash) : json_null());
}

static int64_t longest(void *arg, const struct model *m, const struct token_file *t)
{
    const struct preference_run *r = arg;
    return preference_longest(t, r->needs.mismatched, model_config_context(&m->config));
}

static int open_inputs(void *arg, struct session *s, struct err *e)
{
    struct preference_run *r = arg;
    const struct token_file *files[] = {s->train, s->eval};
    for (int i = 0; i < 2; i++)
        if (files[i] && check_data(r, files[i], e) < 0)
            return -1;
    r->source.memory = s->c->o->memory ? s->c->o->memory : -1;
    for (int i = 0; i < 2 && r->needs.reference; i++) {
        struct preference_source source = r->source;
        source.other = r->ref_model && (i || !r->ref_logprobs); /* else it computes nothing here */
        if (files[i] && preference_reference_look(&source, files[i], &r->look[i], e) < 0)
            return -1;
    }
    if (r->ref_logprobs && !(r->ref[0] = preference_reference_open(r->ref_logprobs, &r->look[0].want, s->train, r->needs.mismatched, e)))
        return -1;
    s->optimizer.keeps_reference = r->sync_every > 0;
    describe(r, s->settings);
    return 0;
}

/* ---- the reference ---- */

/* What lies there already is taken when it fits. */
static int find_reference(struct preference_run *r, int i, const struct token_file *t, const char *name, struct err *e)
{
    char *path = file_join(cli.output, name);
    struct err unfit = ERR_INIT;
    int code = 0;
    if (file_exists(path) && (r->ref[i] = preference_reference_open(path, &r->look[i].want, t, r->needs.mismatched, &unfit)))
        msg_info("reference: taken from %s", path);
    else
        code = preference_reference_write(&r->source, t, path, true, e);
    if (code == 0 && !r->ref[i] && !(r->ref[i] = preference_reference_open(path, &r->look[i].want, t, r->needs.mismatched, e)))
        code = -1;
    progress_end();
    free(path);
    return code;
}

static int prepare(void *arg, struct session *s, struct err *e)
{
    struct preference_run *r = arg;
    int code = 0;
    if (r->needs.reference && !r->ref[0])
        code = find_reference(r, 0, s->train, "ref-logprobs", e);
    if (code == 0 && r->needs.reference && s->eval)
        code = find_reference(r, 1, s->eval, "eval-ref-logprobs", e);
    return code;
}

static struct train_objective objective(void *arg, struct session *s)
{
    struct preference_run *r = arg;
    preference_step_init(&r->step, &r->p, model_config_context(&s->model->config), s->plan.room);
    r->step.ref = r->ref[0];
    r->step.eval_ref = r->ref[1];
    r->step.sync_every = r->sync_every;
    r->step.sync_mix = r->sync_mix;
    r->step.optimizer = &s->optimizer;
    r->step.k = s->model->k;
    r->step.check_start = r->needs.reference && !r->ref_model && !(r->adapter && r->dropout > 0);
    return preference_objective(&r->step);
}

static void close_run(void *arg)
{
    struct preference_run *r = arg;
    preference_step_release(&r->step);
    for (int i = 0; i < 2; i++)
        ref_logprobs_close(r->ref[i]);
}

/* ---- cost ---- */

static double flops(void *arg, const struct session *s, double *rows)
{
    const struct preference_run *r = arg;
    const struct model *m = s->model;
    struct preference_cost c = preference_cost_of(s->train, m, r->needs.prompt, r->needs.mismatched);
    int passes = (r->needs.step ? 1 : 0) + (r->sync_every ? 1 : 0); /* beside the one of the gradient */
    *rows = (double)s->train->n_tokens;
    double sum = preference_cost_answers(&c, m, true, s->plan.recompute) + preference_cost_mismatched(&c, m) + passes * preference_cost_answers(&c, m, false, false);
    if (linear_trains(&m->head) || m->norm.pw) /* the scores are made twice */
        sum += 2 * c.trained * (double)m->config.vocab * (double)m->config.hidden;
    return sum;
}

/* The reference's one pass over each file, and the evaluations. */
static double flops_beside(void *arg, const struct session *s, int64_t evaluations, double *rows)
{
    const struct preference_run *r = arg;
    const struct token_file *files[2] = {r->ref_logprobs ? NULL : s->train, s->eval};
    double sum = 0;
    *rows = 0;
    for (int i = 0; i < 2; i++) {
        double times = i ? (double)evaluations * (r->sync_every ? 2 : 1) : 0;
        if (!files[i])
            continue;
        struct preference_cost c = preference_cost_of(files[i], s->model, r->needs.prompt, r->needs.mismatched);
        sum += r->look[i].flops + times * preference_cost_forward(&c, s->model);
        *rows += r->look[i].rows + times * (c.rows + c.other_rows);
    }
    return sum;
}

static int64_t kept(void *arg, const struct session *s)
{
    const struct preference_run *r = arg;
    const struct token_file *files[2] = {r->ref_logprobs ? NULL : s->train, s->eval};
    int64_t n = 0;
    for (int i = 0; i < 2 && r->needs.reference; i++)
        n += files[i] ? preference_cost_file(files[i], r->needs.mismatched) : 0;
    return n;
}

struct train_method preference_run_method(struct preference_run *r)
{
    return (struct train_method){.arg = r, .kind = kind_of(r), .longest = longest, .open = open_inputs, .prepare = prepare, .objective = objective,
                                 .flops = flops, .flops_beside = flops_beside, .kept = kept, .close = close_run};
}

int preference_run_write(struct preference_run *r, const char *data, const char *path, int64_t memory, struct buf *plan, struct err *e)
{
    struct token_file *t = token_file_open(data, e);
    if (!t)
        return -1;
    int code = token_file_expect(t, kind_of(r), e) < 0 || check_data(r, t, e) < 0 ? -1 : 0;
    r->source.memory = memory;
    if (code == 0 && plan) {
        code = preference_reference_plan(&r->source, t, path, plan, e);
        token_file_close(t);
        return code;
    }
    stop_defer();
    code = code < 0 ? -1 : preference_reference_write(&r->source, t, path, cli.force, e);
    progress_end();
    if (code == 0)
        msg_info("%s: log-probabilities of %lld samples", path, (long long)t->n_samples);
    if (code == 1)
        msg_info("stopped; nothing was written");
    if (code == 2)
        msg_error("%s", e->text);
    token_file_close(t);
    return code == 1 ? EXIT_STOPPED : code == 2 ? EXIT_DIVERGED : code;
}
