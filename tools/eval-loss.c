/* eval-loss: loss and perplexity of a model over a token file or a text, and how far it is from another model. See eval-loss(1). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
#include "train/layer_error.h"
#include "train/plan.h"
#include "train/windows.h"

static struct {
    struct opt_list adapters;
    const char *against;
    const char *text;
    struct windows_options windows;
    int64_t rows;
    bool layers;
} o;

static const struct opt options[] = {
    {OPT_LIST, 'a', "adapter", &o.adapters, "DIR", "apply this adapter; may be given again", .path = OPT_INPUT},
    {OPT_GROUP, .help = "Perplexity of a text"},
    {OPT_STRING, 0, "text", &o.text, "FILE", "a text, in windows, instead of a token file", .path = OPT_INPUT},
    {OPT_COUNT, 0, "window", &o.windows.window, "N", "tokens of a window (2048, or the model's positions)", .min = 2, .max = 1e7},
    {OPT_COUNT, 0, "stride", &o.windows.stride, "N", "windows overlap and begin so many tokens apart, as in transformers' documentation", .min = 1, .max = 1e7},
    {OPT_FLAG, 0, "half", &o.windows.half, NULL, "the second half of each window counts, as in llama.cpp"},
    {OPT_GROUP, .help = "Distance from another model"},
    {OPT_STRING, 0, "against", &o.against, "DIR", "also measure the divergence from this model", .path = OPT_INPUT},
    {OPT_FLAG, 0, "layers", &o.layers, NULL, "and how far the output of each layer is from that of its"},
    {OPT_GROUP, .help = "Memory"},
    {OPT_COUNT, 0, "rows", &o.rows, "N", "tokens computed at once, at most (chosen by size)", .min = 1, .max = 1e7},
    OPT_END};

static const struct cli_tool tool = {
    "eval-loss",
    "-m DIR [-a ADAPTER]... [--against DIR [--layers]] FILE.tok | --text FILE",
    "measure the loss of a model over a token file or a text",
    options,
    CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_COMPUTE | CLI_FILES,
    {"eval-loss -m model/ test.tok", "eval-loss -m model/ -a adapter/ test.tok", "eval-loss -m merged/ --against model/ test.tok",
     "eval-loss -m model-nf4/ --text wiki.test.txt --window 2048"}};

#define WINDOW 2048 /* of the tables of GPTQ and AWQ */

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

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* The relative squared error of each layer's output. */
static json_t *compare_layers(struct subject *s, struct subject *against, struct pack *p, const struct token_file *t)
{
    struct err e = ERR_INIT;
    struct layer_error r;
    json_t *list = json_array();
    layer_error_init(&r, s->model, s->plan.room);
    progress_begin("sample", 0, t->n_samples);
    for (int64_t i = 0; i < t->n_samples; show(i)) {
        i += pack_fill(p, t, NULL, i, t->n_samples - i, 0);
        if (layer_error_add(&r, s->plan.decoder, against->plan.decoder, s->model, p, &e) < 0)
            die_err(&e);
    }
    progress_end();
    void (*tell)(const char *format, ...) = isatty(STDERR_FILENO) ? msg_info : msg_verbose;
    tell("layer  relative squared error of its output");
    for (int l = 0; l < r.layers; l++) {
        tell("%5d  %.6g", l, r.sum[l] / (double)r.rows);
        json_array_append_new(list, number(r.sum[l] / (double)r.rows));
    }
    layer_error_release(&r);
    return list;
}

static int write_line(struct outfile *f, json_t *line, struct err *e)
{
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fprintf(outfile_stream(f), "%s\n", text);
    free(text);
    return outfile_commit(f, e);
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
    if (o.layers && layer_error_check(s.model, against.model, &e) < 0)
        die_err(&e);
    msg_info("%s: %lld %s, %lld tokens, %lld %s", t->path, (long long)t->n_samples, o.text ? "windows" : "samples", (long long)t->n_tokens, (long long)t->n_trained, o.text ? "count" : "trained");
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
        json_object_set_new(line, "mean_kl_error", number(d.error));
        json_object_set_new(line, "max_kl", number(d.max));
        json_object_set_new(line, "top1_agreement", json_real((double)d.agree / (double)d.rows));
    }
    if (o.layers) {
        json_t *layers = compare_layers(&s, &against, &p, t);
        json_object_set_new(line, "layer_errors", layers);
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

/* The window that is meant when none is given. */
static void choose_window(void)
{
    struct err e = ERR_INIT;
    struct model_config c;
    if (model_config_read(&c, cli.model, &e) < 0)
        die_err(&e);
    int64_t context = model_config_context(&c);
    model_config_release(&c);
    if (o.windows.window > context)
        die("--window %lld: the model has %lld positions", (long long)o.windows.window, (long long)context);
    if (!o.windows.window)
        o.windows.window = context < WINDOW ? context : WINDOW;
    if (o.windows.stride > o.windows.window)
        die_usage("--stride %lld is more than a window, %lld", (long long)o.windows.stride, (long long)o.windows.window);
}

static void check_usage(int n_files)
{
    if (!cli.model)
        die_usage("-m DIR, the model, is missing");
    if (o.text && n_files)
        die_usage("--text and a token file exclude each other");
    if (!o.text && n_files != 1)
        die_usage("expected one token file, found %d", n_files);
    if (!o.text && (o.windows.window || o.windows.stride || o.windows.half))
        die_usage("%s needs --text FILE", o.windows.window ? "--window" : o.windows.stride ? "--stride" : "--half");
    if (o.windows.half && o.windows.window == 2)
        die_usage("--half needs a --window of at least 3");
    if (o.windows.half && o.windows.stride)
        die_usage("--half and --stride exclude each other");
    if (o.layers && !o.against)
        die_usage("--layers needs --against DIR");
}

int main(int argc, char **argv)
{
    int first = cli_begin(&tool, argc, argv);
    struct err e = ERR_INIT;
    struct windows w = {0};
    check_usage(argc - first);
    if (o.text) {
        choose_window();
        if (windows_open(&w, cli.model, o.text, &o.windows, &e) < 0)
            die_err(&e);
    }
    struct token_file *t = o.text ? w.file : token_file_open(argv[first], &e);
    if (!t || token_file_expect(t, TOKEN_KIND_SAMPLES, &e) < 0)
        die_err(&e);
    struct outfile *f = outfile_open(cli.output ? cli.output : "-", cli.force, false, &e); /* before anything is computed */
    if (!f)
        die_err(&e);
    int status = run(t, f);
    char time[32];
    progress_format_time(time, sizeof time, progress_seconds());
    msg_info("%lld tokens in %s", (long long)t->n_tokens, time);
    if (o.text)
        windows_close(&w);
    else
        token_file_close(t);
    return cli_end(status);
}
