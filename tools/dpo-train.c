/* dpo-train: preference pairs, or labelled answers, and a model into an adapter that prefers as they do. See dpo-train(1). */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "format/model_folder.h"
#include "model/lora.h"
#include "model/weights_train.h"
#include "train/preference_run.h"

#define LR_FULL 1e-6

static struct train_options train = TRAIN_DEFAULTS(5e-6);
static struct preference_run run = {.options = PREFERENCE_DEFAULTS, .sync_mix = 0.6};
static struct {
    int64_t rank;
    double alpha, dropout;
    const char *targets, *bias, *write_ref;
    bool sync_mix_given, rslora, full, rank_given, alpha_given, targets_given, bias_given, dropout_given;
} o = {.rank = 16, .alpha = 32, .targets = "all-linear", .bias = "none"};

static const struct opt options[] = {
    {OPT_GROUP, .help = "Loss"},
    {OPT_STRING, 0, "loss", &run.options.losses, "NAME[:WEIGHT],...", "losses and their weights (sigmoid)"},
    {OPT_REAL, 0, "beta", &run.options.beta, "X", "how far the model may go from the reference: less with more (0.1)", .min = 0, .max = 1000},
    {OPT_REAL, 0, "label-smoothing", &run.options.label_smoothing, "X", "share of pairs taken to be the wrong way round (0)", .min = 0, .max = 0.5},
    {OPT_CHOICE, 0, "f-divergence", &run.options.f_divergence, "reverse_kl|forward_kl|js_divergence|alpha_divergence", "divergence from the reference (reverse_kl)"},
    {OPT_REAL, 0, "f-alpha", &run.options.f_alpha, "X", "alpha of alpha_divergence (0.5)", .min = -10, .max = 10},
    {OPT_REAL, 0, "ld-alpha", &run.options.ld_alpha, "X", "weight of tokens beyond the shorter answer's length (1)", .min = 0, .max = 1},
    {OPT_FLAG, 0, "wpo", &run.options.wpo, NULL, "weigh pairs by how probable they are to the model"},
    {OPT_REAL, 0, "discopop-tau", &run.options.discopop_tau, "X", "temperature of discopop (0.05)", .min = 0, .max = 1},
    {OPT_REAL, 0, "simpo-gamma", &run.options.simpo_gamma, "X", "target margin of simpo and alphapo (0.5)", .min = 0, .max = 1e3},
    {OPT_REAL, 0, "alphapo-alpha", &run.options.alpha, "X", "alpha of alphapo (0.25)", .min = -10, .max = 10},
    {OPT_REAL, 0, "desirable-weight", &run.options.desirable_weight, "X", "weight of desirable answers (1)", .min = 0, .max = 1e3},
    {OPT_REAL, 0, "undesirable-weight", &run.options.undesirable_weight, "X", "weight of undesirable answers (1)", .min = 0, .max = 1e3},
    {OPT_FLAG, 0, "train-prompt", &run.options.train_prompt, NULL, "orpo's likelihood counts the prompt, too"},
    {OPT_GROUP, .help = "Reference"},
    {OPT_STRING, 0, "ref-model", &run.ref_model, "DIR", "another model (the one that is trained, as it starts)", .path = OPT_INPUT},
    {OPT_STRING, 0, "ref-logprobs", &run.ref_logprobs, "FILE", "computed before by --write-ref", .path = OPT_INPUT},
    {OPT_STRING, 0, "write-ref", &o.write_ref, "FILE", "compute the reference's log-probabilities, write them, stop", .path = OPT_OUTPUT},
    {OPT_COUNT, 0, "sync-ref", &run.sync_every, "N", "steps after which the reference moves towards the model; 0: never (0)", .min = 0, .max = 1e12},
    {OPT_REAL, 0, "sync-mix", &run.sync_mix, "X", "how far (0.6)", .min = 0, .max = 1, .given = &o.sync_mix_given},
    {OPT_GROUP, .help = "What is trained"},
    {OPT_STRING, 0, "adapter", &run.adapter, "DIR", "start from this adapter, with its rank, scale and targets", .path = OPT_INPUT},
    {OPT_FLAG, 0, "full", &o.full, NULL, "every weight instead of an adapter"},
    {OPT_COUNT, 0, "rank", &o.rank, "N", "rank of the pairs (16)", .min = 1, .max = 65536, .given = &o.rank_given},
    {OPT_REAL, 0, "alpha", &o.alpha, "X", "scale: alpha / rank (32)", .min = 0, .max = 1e6, .given = &o.alpha_given},
    {OPT_REAL, 0, "dropout", &o.dropout, "X", "share of a pair's inputs dropped in training (0)", .min = 0, .max = 0.999, .given = &o.dropout_given},
    {OPT_STRING, 0, "targets", &o.targets, "all-linear|NAME,...|REGEX", "modules that get a pair (all-linear)", .given = &o.targets_given,
     .words = lora_target_names},
    {OPT_FLAG, 0, "rslora", &o.rslora, NULL, "scale: alpha / sqrt(rank)"},
    {OPT_CHOICE, 0, "bias", &o.bias, "none|all|lora_only", "biases that are trained too (none)", .given = &o.bias_given},
    TRAIN_OPTIONS(train, "5e-6; --full: 1e-6"),
    OPT_END};

static const struct cli_tool tool = {
    "dpo-train",
    "-m DIR -o OUT [options] PAIRS.tok",
    "train on preferences: DPO and its family",
    options,
    CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_COMPUTE | CLI_PLAN | CLI_FILES,
    {"dpo-train -m model/ --adapter sft/ -o dpo/ pairs.tok", "dpo-train -m model/ -o dpo/ --loss sigmoid:0.8,sft:0.2 --eval dev.tok pairs.tok",
     "dpo-train -m model/ --write-ref pairs.ref pairs.tok"}};

/* ---- a LoRA ---- */

static int lora_start_all(void *arg, uint64_t seed, struct err *e)
{
    return lora_start(arg, seed, e);
}

static int lora_save_all(void *arg, const char *dir, const char *provenance, struct err *e)
{
    return lora_save(arg, dir, provenance, e);
}

static int attach_lora(struct model *m, struct train_subject *s, json_t *settings, struct err *e)
{
    const struct lora_options lo = {(int)o.rank, o.alpha, o.dropout, o.rslora, o.targets, o.bias, cli.model};
    struct lora_set *set = run.adapter ? lora_attach_adapter(m, run.adapter, o.dropout, false, e) : lora_attach(m, &lo, e);
    if (!set)
        return -1;
    const struct adapter_config *c = lora_config(set);
    *s = (struct train_subject){set, lora_start_all, lora_save_all, "adapter_config.json"};
    json_object_set_new(settings, "rank", json_integer(c->r));
    json_object_set_new(settings, "alpha", json_real(c->alpha));
    json_object_set_new(settings, "dropout", json_real(c->dropout));
    json_object_set_new(settings, "rslora", json_boolean(c->rslora));
    json_object_set_new(settings, "bias", json_string(c->bias));
    json_object_set_new(settings, "targets", run.adapter ? json_null() : json_string(o.targets));
    return 0;
}

static void detach_lora(void *arg)
{
    lora_detach(arg);
}

static int64_t lora_bytes(const struct model *m)
{
    int64_t n = 1 << 16; /* config, card, header */
    for (int i = 0; i < m->n_params; i++)
        n += m->params[i]->numel * (int64_t)sizeof(float);
    return n;
}

/* ---- every weight ---- */

static int weights_start_all(void *arg, uint64_t seed, struct err *e)
{
    (void)seed, (void)e;
    weights_train_start(arg);
    return 0;
}

static int weights_save_all(void *arg, const char *dir, const char *provenance, struct err *e)
{
    return weights_train_save(arg, dir, provenance, e);
}

static int attach_weights(struct model *m, struct train_subject *s, json_t *settings, struct err *e)
{
    struct weights_train *w = weights_train_select(m, cli.model, NULL, e);
    if (!w)
        return -1;
    *s = (struct train_subject){w, weights_start_all, weights_save_all, "config.json"};
    json_object_set_new(settings, "full", json_true());
    return 0;
}

static void detach_weights(void *arg)
{
    weights_train_detach(arg);
}

static int64_t weights_bytes(const struct model *m)
{
    return m->folder->bytes + (8 << 20); /* tokenizer, headers */
}

/* ---- */

static void check_usage(int n_files)
{
    bool pairs = o.rank_given || o.alpha_given || o.targets_given || o.bias_given || o.rslora;
    if (run.sync_every && o.full)
        die_usage("--sync-ref needs a second copy of what is trained, which --full would make one of the whole model; train an adapter");
    if (o.sync_mix_given && !run.sync_every)
        die_usage("--sync-mix needs --sync-ref N");
    if (run.adapter && pairs)
        die_usage("--adapter brings its own rank, alpha, targets, rslora and bias");
    if (o.full && (run.adapter || pairs || o.dropout_given))
        die_usage("--full trains every weight, so %s has no use", run.adapter ? "--adapter (merge it first: adapter-merge)" : "an option of adapters");
    if (!o.write_ref)
        return;
    if (run.ref_logprobs || cli.output || train.eval)
        die_usage("--write-ref computes and stops: %s has no use", run.ref_logprobs ? "--ref-logprobs" : cli.output ? "-o" : "--eval");
    if (!cli.model)
        die_usage("-m DIR, the model, is missing");
    if (n_files != 1)
        die_usage("expected one token file, found %d", n_files);
}

int main(int argc, char **argv)
{
    int first = cli_begin(&tool, argc, argv), status;
    struct err e = ERR_INIT;
    struct buf plan = BUF_INIT;
    check_usage(argc - first);
    run.rows = train.rows;
    run.dropout = o.dropout;
    if (o.full && !train.lr_given)
        train.lr = LR_FULL;
    if (preference_run_init(&run, &e) < 0)
        die_usage("%s", e.text);
    if (o.write_ref) {
        if (!run.needs.reference)
            die_usage("--loss %s needs no reference, so --write-ref has nothing to write", run.options.losses);
        status = preference_run_write(&run, argv[first], o.write_ref, train.memory, cli.plan ? &plan : NULL, &e);
        fputs(buf_str(&plan), stdout);
        buf_release(&plan);
        if (status < 0)
            die_err(&e);
        return cli_end(status);
    }
    const struct train_method method = preference_run_method(&run);
    const struct train_command c = {.tool = "dpo-train", .o = &train, .adapter = run.adapter, .attach = o.full ? attach_weights : attach_lora,
                                    .detach = o.full ? detach_weights : detach_lora, .saved_bytes = o.full ? weights_bytes : lora_bytes,
                                    .what = o.full ? "the model" : "the adapter", .method = &method, .plan = &plan};
    status = train_command(&c, argv + first, argc - first);
    fputs(buf_str(&plan), stdout);
    buf_release(&plan);
    return cli_end(status);
}
