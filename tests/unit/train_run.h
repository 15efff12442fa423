/* One run of the training loop in a temporary folder, for tests.
 *
 *     struct token_writer *w = run_tokens_begin(&r, vocab);  token_writer_add(w, ...);  run_tokens_end(&r, w);
 *     r.o.steps = ...;  run_train(&r, model_dir, lora options or NULL for all weights, start or NULL);
 *     r.steps[], r.model->params
 *     run_close(&r);  run_tokens_close(&r);
 * r.o holds the options (defaults set by run_tokens_begin). Errors end the program. */
#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H

#include <jansson.h>
#include <unistd.h>

#include "cli/outfile.h"
#include "cli/runlog.h"
#include "model/lora.h"
#include "model/weights_train.h"
#include "tests/unit/tiny_model.h"
#include "train/loop.h"

#define RUN_STEPS 100

struct run_step { double loss, grad_norm, lr; };

struct run {
    struct train_options o;
    struct plan_wish wish;
    char *bytes;             /* of the token file */
    size_t n_bytes;
    struct token_file *tokens;
    const struct kernels *k; /* NULL: the CPU's */
    struct model *model;
    struct lora_set *lora;
    struct weights_train *weights;
    struct optimizer optimizer;
    struct plan plan;
    struct batches batches;
    struct train_result result;
    struct run_step steps[RUN_STEPS];
    int n_steps;
    uint64_t seed;
};

static FILE *run_stream;

static struct token_writer *run_tokens_begin(struct run *r, int64_t vocab)
{
    struct err e = ERR_INIT;
    struct token_provenance p = {.vocab = vocab};
    struct train_options o = TRAIN_DEFAULTS(1e-3);
    *r = (struct run){.o = o, .wish = {0, 0, "none", INT64_MAX}};
    memset(p.tokenizer, '0', SHA256_HEX - 1);
    run_stream = open_memstream(&r->bytes, &r->n_bytes);
    struct token_writer *w = token_writer_begin(run_stream, "tokens", TOKEN_KIND_SAMPLES, &p, &e);
    if (!w)
        tiny_die(&e);
    return w;
}

static void run_tokens_end(struct run *r, struct token_writer *w)
{
    struct err e = ERR_INIT;
    if (token_writer_end(w, "0000000000000000000000000000000000000000000000000000000000000000", &e) < 0)
        tiny_die(&e);
    fclose(run_stream);
    if (!(r->tokens = token_file_parse(r->bytes, r->n_bytes, "tokens", &e)))
        tiny_die(&e);
}

__attribute__((unused)) static void run_tokens_close(struct run *r)
{
    token_file_close(r->tokens);
    free(r->bytes);
}

static int run_start(void *arg, uint64_t seed, struct err *e)
{
    struct run *r = arg;
    if (r->lora)
        return lora_start(r->lora, seed, e);
    weights_train_start(r->weights);
    return 0;
}

static int run_save(void *arg, const char *dir, const char *provenance, struct err *e)
{
    struct run *r = arg;
    return r->lora ? lora_save(r->lora, dir, provenance, e) : weights_train_save(r->weights, dir, provenance, e);
}

static int run_stop(void)
{
    return 0;
}

static void run_quiet(const char *text)
{
    printf("# %s\n", text);
}

static void run_begin(void *arg, int64_t from, int64_t total)
{
    (void)arg, (void)from, (void)total;
}

static void run_progress(int64_t step, int64_t tokens, const char *note)
{
    (void)step, (void)tokens, (void)note;
}

static void run_read_log(struct run *r, const char *path)
{
    FILE *f = fopen(path, "r");
    char line[4096];
    while (f && fgets(line, sizeof line, f)) {
        json_t *j = json_loads(line, 0, NULL);
        const char *type = json_string_value(json_object_get(j, "type"));
        if (type && !strcmp(type, "step") && r->n_steps < RUN_STEPS)
            r->steps[r->n_steps++] = (struct run_step){json_number_value(json_object_get(j, "loss")), json_number_value(json_object_get(j, "grad_norm")),
                                                       json_number_value(json_object_get(j, "lr"))};
        json_decref(j);
    }
    if (f)
        fclose(f);
}

static void run_loop(struct run *r, int (*start)(void *, uint64_t, struct err *), const char *out)
{
    struct err e = ERR_INIT;
    char busy[200], *log = mem_printf("%s/log.jsonl", out);
    struct train_job j = {.o = &r->o, .model = r->model, .train = r->tokens, .optimizer = &r->optimizer, .plan = &r->plan, .batches = &r->batches,
                          .objective = &objective_tokens,
                          .subject = {r, start ? start : run_start, run_save, r->lora ? "adapter_config.json" : "config.json"}, .tool = "test",
                          .log_path = log, .log_default = log, .run = "{}", .provenance = "{}", .seed = r->seed, .stop = run_stop, .say = run_quiet, .warn = run_quiet,
                          .begun = run_begin, .progress = run_progress};
    if (schedule_init(&j.schedule, r->o.schedule, r->o.lr, r->o.warmup, r->o.steps, &e) < 0 ||
        !(j.folder = run_folder_open(out, "test", busy, &e)) || train_run(&j, &r->result, &e) < 0)
        tiny_die(&e);
    run_folder_close(j.folder);
    run_read_log(r, log);
    free(log);
}

static void run_train(struct run *r, const char *model, const struct lora_options *lo, int (*start)(void *, uint64_t, struct err *))
{
    struct err e = ERR_INIT;
    const struct batches_options b = {r->seed, r->o.batch, r->o.batch_tokens, !strcmp(r->o.order, "random")};
    char *out = scratch_folder();
    if (!(r->model = model_open(model, r->k ? r->k : kernels_open("cpu", &e), &e)))
        tiny_die(&e);
    if (lo)
        r->lora = lora_attach(r->model, lo, &e);
    else
        r->weights = weights_train_select(r->model, model, NULL, &e);
    if (e.set)
        tiny_die(&e);
    optimizer_init(&r->optimizer, r->model->params, r->model->n_params);
    optimizer_choose(&r->optimizer, r->o.optimizer);
    if (batches_init(&r->batches, r->tokens, &b, &e) < 0 || plan_make(&r->plan, r->model, &r->optimizer, &r->wish, r->tokens, NULL, &e) < 0 ||
        plan_commit(&r->plan, &r->optimizer, &e) < 0)
        tiny_die(&e);
    run_loop(r, start, out);
    free(out);
}

__attribute__((unused)) static void run_close(struct run *r)
{
    plan_release(&r->plan);
    batches_release(&r->batches);
    optimizer_release(&r->optimizer);
    lora_detach(r->lora);
    weights_train_detach(r->weights);
    model_close(r->model);
}

#endif
