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
#include "train/session.h"

static enum token_kind kind_of(const struct preference_run *r)
{
    return r->needs.labelled ? TOKEN_KIND_LABELLED : TOKEN_KIND_PAIRS;
}

/* ---- inputs ---- */

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
    r->source = (struct preference_source){.model = r->ref_model ? r->ref_model : cli.model, .adapter = r->ref_model ? NULL : r->adapter, .dtype = cli.dtype,
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
    json_object_set_new(j, "ref_model", r->ref_model ? json_string(r->want[0].model) : json_null());
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
    for (int i = 0; i < 2 && r->needs.reference; i++)
        if (files[i] && preference_reference_provenance(&r->source, files[i], &r->want[i], e) < 0)
            return -1;
    if (r->ref_logprobs && !(r->ref[0] = preference_reference_open(r->ref_logprobs, &r->want[0], s->train, r->needs.mismatched, e)))
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
    if (file_exists(path) && (r->ref[i] = preference_reference_open(path, &r->want[i], t, r->needs.mismatched, &unfit)))
        msg_info("reference: taken from %s", path);
    else
        code = preference_reference_write(&r->source, t, path, true, e);
    if (code == 0 && !r->ref[i] && !(r->ref[i] = preference_reference_open(path, &r->want[i], t, r->needs.mismatched, e)))
        code = -1;
    progress_end();
    free(path);
    return code;
}

static int prepare(void *arg, struct session *s, struct err *e)
{
    struct preference_run *r = arg;
    int code = 0;
    r->source.memory = s->c->o->memory ? s->c->o->memory : -1;
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

/* Query rows from position `before` on, each of which sees itself and all before. */
static double triangle(double before, double n)
{
    return n * before + n * (n + 1) / 2;
}

/* The reference's pass is not counted: it is made once. */
static double flops(void *arg, const struct session *s, double *rows)
{
    struct preference_run *r = arg;
    int64_t context = model_config_context(&s->model->config), n = 0, other = 0, trained = 0;
    double pairs = 0, other_pairs = 0;
    for (int64_t i = 0; i < s->train->n_samples; i++) {
        struct preference_rows x = preference_rows_of(s->train, i, PREFERENCE_ANSWERS, context);
        pairs += triangle(0, (double)x.prompt);
        n += x.rows;
        for (int k = 0; k < x.answers; k++)
            pairs += triangle((double)x.prompt, (double)x.length[k]);
        trained += r->needs.prompt ? x.prompt : 0;
        if (r->needs.mismatched) {
            x = preference_rows_of(s->train, i, PREFERENCE_MISMATCHED, context);
            other += x.rows;
            other_pairs += triangle(0, (double)x.rows);
        }
    }
    trained += s->train->n_trained;
    *rows = (double)s->train->n_tokens;
    double sum = decoder_flops(s->model, n, trained, pairs, true, s->plan.recompute);
    for (int pass = 0; pass < (r->needs.step ? 1 : 0) + (r->sync_every ? 1 : 0); pass++)
        sum += decoder_flops(s->model, n, trained, pairs, false, false);
    if (r->needs.mismatched)
        sum += decoder_flops(s->model, other, s->train->n_trained, other_pairs, false, false);
    if (linear_trains(&s->model->head) || s->model->norm.pw) /* the scores are made twice */
        sum += 2 * (double)trained * (double)s->model->config.vocab * (double)s->model->config.hidden;
    return sum;
}

/* The reference's log-probabilities: records of counts and f32, and where each begins. */
static int64_t kept(void *arg, const struct session *s)
{
    const struct preference_run *r = arg;
    const struct token_file *files[2] = {r->ref_logprobs ? NULL : s->train, s->eval};
    int64_t n = 0;
    for (int i = 0; i < 2 && r->needs.reference; i++)
        if (files[i])
            n += 4096 + 24 * files[i]->n_samples + 4 * files[i]->n_trained * (r->needs.mismatched ? 2 : 1);
    return n;
}

struct train_method preference_run_method(struct preference_run *r)
{
    return (struct train_method){.arg = r, .kind = kind_of(r), .longest = longest, .open = open_inputs, .prepare = prepare, .objective = objective,
                                 .flops = flops, .kept = kept, .close = close_run};
}

int preference_run_write(struct preference_run *r, const char *data, const char *path, struct err *e)
{
    struct token_file *t = token_file_open(data, e);
    if (!t)
        return -1;
    stop_defer();
    int code = token_file_expect(t, kind_of(r), e) < 0 ? -1 : preference_reference_write(&r->source, t, path, cli.force, e);
    progress_end();
    if (code == 0)
        msg_info("%s: log-probabilities of %lld samples", path, (long long)t->n_samples);
    if (code == 1)
        msg_info("stopped; nothing was written");
    if (code == 2)
        msg_error("%s: a log-probability of the reference is no finite number", data);
    token_file_close(t);
    return code == 1 ? EXIT_STOPPED : code == 2 ? EXIT_DIVERGED : code;
}
