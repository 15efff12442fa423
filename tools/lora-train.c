/* lora-train: a token file and a frozen model into a PEFT LoRA adapter. See lora-train(1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/msg.h"
#include "cli/opt.h"
#include "model/lora.h"
#include "train/command.h"

static struct train_options train = TRAIN_DEFAULTS(2e-4);
static struct {
    int64_t rank;
    double alpha, dropout;
    const char *targets, *bias, *adapter;
    bool rslora, merge_aware, rank_given, alpha_given, targets_given, bias_given;
} o = {.rank = 16, .alpha = 32, .targets = "all-linear", .bias = "none"};

static const struct opt options[] = {
    {OPT_GROUP, .help = "Adapter"},
    {OPT_COUNT, 0, "rank", &o.rank, "N", "rank of the pairs (16)", .min = 1, .max = 65536, .given = &o.rank_given},
    {OPT_REAL, 0, "alpha", &o.alpha, "X", "scale: alpha / rank (32)", .min = 0, .max = 1e6, .given = &o.alpha_given},
    {OPT_REAL, 0, "dropout", &o.dropout, "X", "share of a pair's inputs dropped in training (0)", .min = 0, .max = 0.999},
    {OPT_STRING, 0, "targets", &o.targets, "all-linear|NAME,...|REGEX", "modules that get a pair (all-linear)", .given = &o.targets_given,
     .words = lora_target_names},
    {OPT_FLAG, 0, "rslora", &o.rslora, NULL, "scale: alpha / sqrt(rank)"},
    {OPT_CHOICE, 0, "bias", &o.bias, "none|all|lora_only", "biases that are trained too (none)", .given = &o.bias_given},
    {OPT_FLAG, 0, "merge-aware", &o.merge_aware, NULL, "train what adapter-merge --requantize makes of a quantized model"},
    {OPT_STRING, 0, "adapter", &o.adapter, "DIR", "start from this adapter, with its rank, scale and targets", .path = OPT_INPUT},
    TRAIN_OPTIONS(train, "2e-4"),
    OPT_END};

static const struct cli_tool tool = {
    "lora-train",
    "-m DIR -o OUT [options] TRAIN.tok",
    "train a LoRA adapter",
    options,
    CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_COMPUTE | CLI_PLAN | CLI_FILES,
    {"lora-train -m model/ -o adapter/ train.tok", "lora-train -m model/ -o adapter/ --rank 8 --epochs 1 --eval dev.tok train.tok",
     "lora-train -m model/ -o adapter/ --plan train.tok"}};

static int start(void *arg, uint64_t seed, struct err *e)
{
    return lora_start(arg, seed, e);
}

static int save(void *arg, const char *dir, const char *provenance, struct err *e)
{
    return lora_save(arg, dir, provenance, e);
}

static void detach(void *arg)
{
    lora_detach(arg);
}

/* The configuration as it is, also when it comes from --adapter, is part of the run. */
static void describe(const struct lora_set *s, json_t *settings)
{
    const struct adapter_config *c = lora_config(s);
    json_object_set_new(settings, "rank", json_integer(c->r));
    json_object_set_new(settings, "alpha", json_real(c->alpha));
    json_object_set_new(settings, "dropout", json_real(c->dropout));
    json_object_set_new(settings, "rslora", json_boolean(c->rslora));
    json_object_set_new(settings, "bias", json_string(c->bias));
    if (o.merge_aware)
        json_object_set_new(settings, "merge_aware", json_true());
    json_object_set_new(settings, "targets", o.adapter ? json_null() : json_string(o.targets));
}

static int attach(struct model *m, struct train_subject *s, json_t *settings, struct err *e)
{
    const struct lora_options lo = {(int)o.rank, o.alpha, o.dropout, o.rslora, o.targets, o.bias, cli.model, o.merge_aware};
    struct lora_set *set = o.adapter ? lora_attach_adapter(m, o.adapter, o.dropout, o.merge_aware, e) : lora_attach(m, &lo, e);
    if (!set)
        return -1;
    *s = (struct train_subject){set, start, save, "adapter_config.json"};
    describe(set, settings);
    return 0;
}

static int64_t saved_bytes(const struct model *m)
{
    int64_t n = 1 << 16; /* config, card, header */
    for (int i = 0; i < m->n_params; i++)
        n += m->params[i]->numel * (int64_t)sizeof(float);
    return n;
}

int main(int argc, char **argv)
{
    int first = cli_begin(&tool, argc, argv);
    if (o.adapter && (o.rank_given || o.alpha_given || o.targets_given || o.bias_given || o.rslora))
        die_usage("--adapter brings its own rank, alpha, targets, rslora and bias");
    if (o.merge_aware && o.dropout > 0)
        die_usage("--merge-aware takes no --dropout: one weight for all inputs is brought to the grid, and none of them can be dropped from a part of it");
    struct buf plan = BUF_INIT;
    const struct train_command c = {.tool = "lora-train", .o = &train, .adapter = o.adapter, .attach = attach, .detach = detach,
                                    .saved_bytes = saved_bytes, .what = "the adapter", .plan = &plan};
    int status = train_command(&c, argv + first, argc - first);
    fputs(buf_str(&plan), stdout);
    buf_release(&plan);
    return cli_end(status);
}
