/* eval-loss: loss and perplexity of a model over a token file, and how far it is from another model. See eval-loss(1). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "format/model_folder.h"
#include "model/lora.h"
#include "train/checks.h"
#include "train/device.h"
#include "train/divergence.h"
#include "train/evaluate.h"
#include "train/plan.h"

static struct {
    struct opt_list adapters;
    const char *against;
    int64_t rows, memory;
} o;

static const struct opt options[] = {
    {OPT_LIST, 'a', "adapter", &o.adapters, "DIR", "apply this adapter; may be given again", .path = OPT_INPUT},
    {OPT_STRING, 0, "against", &o.against, "DIR", "also measure the divergence from this model", .path = OPT_INPUT},
    {OPT_COUNT, 0, "rows", &o.rows, "N", "tokens computed at once, at most (chosen by size)", .min = 1, .max = 1e7},
    OPT_END};

static const struct cli_tool tool = {
    "eval-loss",
    "-m DIR [-a ADAPTER]... [--against DIR] FILE.tok",
    "measure the loss of a model over a token file",
    options,
    CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_COMPUTE | CLI_FILES,
    {"eval-loss -m model/ test.tok", "eval-loss -m model/ -a adapter/ test.tok", "eval-loss -m merged/ --against model/ test.tok"}};

struct subject {
    struct model *model;
    struct plan plan;
};

/* A model and its activations. Every error ends the program. */
static void open_subject(struct subject *s, const char *dir, const struct opt_list *adapters, const struct token_file *t, int64_t rows)
{
    struct err e = ERR_INIT;
    const struct kernels *k = device_open(&e);
    s->model = k ? model_open(dir, k, &e) : NULL;
    if (!s->model)
        die_err(&e);
    if (s->model->warning)
        msg_warn("%s", s->model->warning);
    model_set_dtype(s->model, cli.dtype);
    for (int i = 0; adapters && i < adapters->n; i++)
        if (model_add_adapter(s->model, adapters->items[i], 1, &e) < 0)
            die_err(&e);
    if (check_tokens(s->model, dir, t, &e) < 0 || check_weights(s->model, &e) < 0)
        die_err(&e);
    const struct plan_wish w = {rows, t->n_tokens, "none", INT64_MAX};
    if (plan_make(&s->plan, s->model, NULL, &w, t, NULL, &e) < 0 || plan_commit(&s->plan, NULL, &e) < 0)
        die_err(&e);
}

static void close_subject(struct subject *s)
{
    plan_release(&s->plan);
    model_close(s->model);
}

static void show(int64_t done)
{
    progress_step(done, 0, "");
}

static void compare(struct subject *s, struct subject *against, struct pack *p, const struct token_file *t, struct divergence *r)
{
    struct err e = ERR_INIT;
    double sum = 0;
    for (int64_t i = 0; i < t->n_samples; show(i)) {
        i += pack_fill(p, t, NULL, i, t->n_samples - i, 0);
        if (divergence_add(s->plan.decoder, against->plan.decoder, p, s->model->config.vocab, &sum, r, &e) < 0)
            die_err(&e);
    }
}

static int write_line(struct outfile *f, json_t *line, struct err *e)
{
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fprintf(outfile_stream(f), "%s\n", text);
    free(text);
    return outfile_commit(f, e);
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static int run(const struct token_file *t, struct outfile *f)
{
    struct subject s = {0}, against = {0};
    struct evaluation v;
    struct divergence d = {0};
    struct pack p;
    struct err e = ERR_INIT;
    open_subject(&s, cli.model, &o.adapters, t, o.rows);
    if (o.against)
        open_subject(&against, o.against, NULL, t, s.plan.rows);
    if (o.against && s.model->config.vocab != against.model->config.vocab)
        die("%s: has a vocabulary of %lld, that of %s is %lld", o.against, (long long)against.model->config.vocab, cli.model,
            (long long)s.model->config.vocab);
    msg_info("%s: %lld samples, %lld tokens, %lld trained", t->path, (long long)t->n_samples, (long long)t->n_tokens, (long long)t->n_trained);
    pack_init(&p, s.plan.rows, s.plan.room);
    progress_begin("sample", 0, t->n_samples);
    if (evaluate(s.plan.decoder, &p, t, show, &v, &e) < 0)
        die_err(&e);
    progress_end();
    json_t *line = json_pack("{s:I,s:o,s:o}", "tokens", (json_int_t)v.trained, "loss", number(v.loss), "perplexity", number(exp(v.loss)));
    if (o.against) {
        progress_begin("sample", 0, t->n_samples);
        compare(&s, &against, &p, t, &d);
        progress_end();
        json_object_set_new(line, "mean_kl", number(d.mean));
        json_object_set_new(line, "max_kl", number(d.max));
    }
    summary_json("result", json_incref(line));
    if (write_line(f, line, &e) < 0)
        die_err(&e);
    json_decref(line);
    device_report();
    pack_release(&p);
    close_subject(&s);
    close_subject(&against);
    if (isfinite(v.loss) && isfinite(d.mean))
        return EXIT_DONE;
    msg_error("%s: the %s is no finite number", cli.model, isfinite(v.loss) ? "divergence" : "loss");
    return EXIT_DIVERGED;
}

int main(int argc, char **argv)
{
    int first = cli_begin(&tool, argc, argv);
    struct err e = ERR_INIT;
    if (!cli.model)
        die_usage("-m DIR, the model, is missing");
    if (argc - first != 1)
        die_usage("expected one token file, found %d", argc - first);
    struct token_file *t = token_file_open(argv[first], &e);
    if (!t || token_file_expect(t, TOKEN_KIND_SAMPLES, &e) < 0)
        die_err(&e);
    struct outfile *f = outfile_open(cli.output ? cli.output : "-", cli.force, false, &e); /* before anything is computed */
    if (!f)
        die_err(&e);
    int status = run(t, f);
    char time[32];
    progress_format_time(time, sizeof time, progress_seconds());
    msg_info("%lld tokens in %s", (long long)t->n_tokens, time);
    token_file_close(t);
    return cli_end(status);
}
