#include "train/session.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/opt.h"
#include "format/manifest.h"
#include "format/model_folder.h"
#include "train/checks.h"
#include "train/device.h"

/* ---- opening ---- */

/* Fresh weights are plain ones, and the new folder takes the configuration over. */
static int check_plain(const char *dir, struct err *e)
{
    struct quantized_config q;
    if (quantized_config_read(&q, dir, e))
        return -1;
    return q.method == QUANTIZED_NONE ? 0 : err_set(e, "--init: %s: config.json has a quantization_config (%s), expected that of a plain model", dir,
                                                    quantized_method_name(q.method));
}

static struct model *open_model(const struct train_command *c, struct err *e)
{
    const struct kernels *k = device_open(e);
    if (!k)
        return NULL;
    struct model_config config;
    struct model *m = NULL;
    if (!c->init)
        m = model_open(cli.model, k, e);
    else if (check_plain(cli.model, e) == 0 && model_config_read(&config, cli.model, e) == 0)
        m = model_new(&config, k, e);
    if (m)
        model_set_dtype(m, cli.dtype);
    return m;
}

static struct token_file *open_tokens(const struct session *s, const char *path, struct err *e)
{
    struct token_file *t = token_file_open(path, e);
    if (t && token_file_expect(t, s->c->method ? s->c->method->kind : TOKEN_KIND_SAMPLES, e) == 0 && check_tokens(s->model, cli.model, t, e) == 0)
        return t;
    token_file_close(t);
    return NULL;
}

int session_open(struct session *s, const struct train_command *c, const char *train_path, struct err *e)
{
    *s = (struct session){.c = c, .settings = json_object()};
    if (!(s->model = open_model(c, e)) || !(s->train = open_tokens(s, train_path, e)) ||
        (c->o->eval && !(s->eval = open_tokens(s, c->o->eval, e))) || c->attach(s->model, &s->subject, s->settings, e) < 0)
        return -1;
    optimizer_init(&s->optimizer, s->model->params, s->model->n_params);
    optimizer_choose(&s->optimizer, c->o->optimizer);
    const struct batches_options b = {(uint64_t)cli.seed, c->o->batch, c->o->batch_tokens, !strcmp(c->o->order, "random")};
    if (batches_init(&s->batches, s->train, &b, e) < 0)
        return -1;
    return c->method ? c->method->open(c->method->arg, s, e) : 0;
}

void session_close(struct session *s)
{
    if (s->c->method)
        s->c->method->close(s->c->method->arg);
    plan_release(&s->plan);
    batches_release(&s->batches);
    optimizer_release(&s->optimizer);
    if (s->subject.arg)
        s->c->detach(s->subject.arg);
    token_file_close(s->train);
    token_file_close(s->eval);
    model_close(s->model);
    json_decref(s->settings);
    free(s->run);
    free(s->provenance);
    *s = (struct session){0};
}

/* ---- planning ---- */

static int64_t longest(const struct session *s, const struct token_file *t)
{
    const struct train_method *m = s->c->method;
    return !t ? 0 : m ? m->longest(m->arg, s->model, t) : (int64_t)t->longest;
}

/* A step of few short samples needs no room for more. */
static int64_t useful_rows(const struct session *s)
{
    const struct train_options *o = s->c->o;
    int64_t step;
    if (o->batch_tokens || __builtin_mul_overflow(o->batch, longest(s, s->train), &step))
        return 0;
    return step;
}

int session_plan(struct session *s, int64_t memory, struct err *e)
{
    const struct train_options *o = s->c->o;
    const struct plan_wish w = {o->rows, useful_rows(s), o->recompute, memory, longest(s, s->train), longest(s, s->eval),
                                 !strcmp(o->offload, "activations")};
    int64_t total = o->steps ? o->steps : batches_count_steps(&s->batches, o->epochs);
    if (schedule_init(&s->schedule, o->schedule, o->lr, o->warmup, total, e) < 0)
        return -1;
    return plan_make(&s->plan, s->model, &s->optimizer, &w, s->train, s->eval, e);
}

static int hash_file(const char *dir, const char *name, char hex[SHA256_HEX], struct err *e)
{
    char *path = file_join(dir, name);
    struct file_map m;
    int r = file_map(&m, path, e);
    if (r == 0) {
        sha256_hex(m.data, m.size, hex);
        file_unmap(&m);
    }
    free(path);
    return r;
}

static void add(json_t *to, const char *key, json_t *value)
{
    json_object_set_new(to, key, value);
}

static void describe_options(const struct session *s, json_t *j)
{
    const struct train_options *o = s->c->o;
    if (o->steps)
        add(j, "steps", json_integer(o->steps));
    else
        add(j, "epochs", json_real(o->epochs));
    add(j, o->batch_tokens ? "batch_tokens" : "batch", json_integer(o->batch_tokens ? o->batch_tokens : o->batch));
    add(j, "order", json_string(o->order));
    add(j, "lr", json_real(o->lr));
    add(j, "schedule", json_string(o->schedule));
    add(j, "warmup", json_real(o->warmup));
    add(j, "optimizer", json_string(o->optimizer));
    add(j, "weight_decay", json_real(o->weight_decay));
    add(j, "beta1", json_real(o->beta1));
    add(j, "beta2", json_real(o->beta2));
    add(j, "eps", json_real(o->eps));
    add(j, "clip", json_real(o->clip));
    add(j, "seed", json_integer(cli.seed));
    add(j, "dtype", json_string(s->model->bf16 ? "bf16" : "f32"));
}

static int describe_inputs(const struct session *s, json_t *j, struct err *e)
{
    char hex[SHA256_HEX];
    if (s->model->folder)
        add(j, "model", json_string(s->model->folder->fingerprint));
    if (hash_file(cli.model, "config.json", hex, e) < 0)
        return -1;
    add(j, "config", json_string(hex));
    add(j, "tokenizer", json_string(s->train->provenance.tokenizer));
    add(j, "template", json_string(s->train->provenance.template_hash));
    add(j, "data", json_string(s->train->hash));
    if (s->c->adapter) {
        if (hash_file(s->c->adapter, "adapter_model.safetensors", hex, e) < 0)
            return -1;
        add(j, "adapter", json_string(hex));
        if (hash_file(s->c->adapter, "adapter_config.json", hex, e) < 0)
            return -1;
        add(j, "adapter_config", json_string(hex)); /* its scale, too, can differ from layer to layer */
    }
    return 0;
}

static char *provenance(const struct session *s, const char *options)
{
    const struct manifest m = {.tool = s->c->tool, .base = s->model->folder ? s->model->folder->fingerprint : NULL,
                               .tokenizer = s->train->provenance.tokenizer, .template_hash = s->train->provenance.template_hash,
                               .data = s->train->hash, .options = options};
    return manifest_text(&m);
}

int session_describe(struct session *s, struct err *e)
{
    json_t *inputs = json_object(), *options = json_deep_copy(s->settings);
    describe_options(s, options);
    int r = describe_inputs(s, inputs, e);
    json_t *run = json_pack("{s:o,s:O}", "inputs", inputs, "options", options);
    char *a = run ? json_dumps(run, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(12)) : NULL;
    char *b = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(12));
    if (r == 0 && (!a || !b))
        r = err_set(e, "an option is no UTF-8 text");
    if (r == 0) {
        s->run = mem_strdup(a);
        s->provenance = provenance(s, b);
    }
    free(a);
    free(b);
    json_decref(run);
    json_decref(options);
    return r;
}

/* ---- sizes ---- */

int64_t session_parameters(const struct session *s, int64_t *trained)
{
    int64_t all = model_config_parameters(&s->model->config);
    *trained = 0;
    for (int i = 0; i < s->model->n_params; i++)
        *trained += s->model->params[i]->numel;
    return all;
}

int64_t session_saved_bytes(const struct session *s)
{
    return s->c->saved_bytes(s->model) + optimizer_saved_bytes(&s->optimizer);
}

int64_t session_disk_bytes(const struct session *s)
{
    int64_t kept = s->c->method && s->c->method->kept ? s->c->method->kept(s->c->method->arg, s) : 0;
    return session_saved_bytes(s) * (s->c->o->keep + 1) + s->c->saved_bytes(s->model) + kept;
}

static double epochs(const struct session *s)
{
    return (double)s->schedule.total / (double)batches_count_steps((struct batches *)&s->batches, 1);
}

/* One at the end of every epoch, or every so many steps, and one at the end. */
static int64_t evaluations(const struct session *s)
{
    int64_t every = s->c->o->eval_every;
    return s->eval ? every ? (s->schedule.total + every - 1) / every : (int64_t)ceil(epochs(s)) : 0;
}

double session_flops_beside(const struct session *s, double *rows)
{
    const struct train_method *m = s->c->method;
    int64_t n = evaluations(s);
    *rows = 0;
    if (m)
        return m->flops_beside(m->arg, s, n, rows);
    if (!n)
        return 0;
    *rows = (double)n * (double)s->eval->n_tokens;
    return (double)n * decoder_flops(s->model, s->eval->n_tokens, s->eval->n_trained, token_file_attended(s->eval), false, false);
}

double session_flops(const struct session *s, double *rows)
{
    const struct train_method *m = s->c->method;
    double times = epochs(s);
    if (m) {
        double flops = times * m->flops(m->arg, s, rows);
        *rows *= times;
        return flops;
    }
    *rows = times * (double)s->train->n_tokens;
    return times * decoder_flops(s->model, s->train->n_tokens, s->train->n_trained, token_file_attended(s->train), true, s->plan.recompute);
}
