/* full-train: trains the weights themselves, all or chosen ones, from a model or from nothing. See full-train(1). */
#include <stdio.h>
#include <stdlib.h>

#include "cli/msg.h"
#include "cli/opt.h"
#include "format/model_folder.h"
#include "model/weights_train.h"
#include "train/command.h"

static struct train_options train = TRAIN_DEFAULTS(1e-5);
static struct {
    const char *regex;
    bool init;
} o;

static const struct opt options[] = {
    {OPT_GROUP, .help = "Weights"},
    {OPT_STRING, 0, "train", &o.regex, "REGEX", "tensors to train: those whose name it matches anywhere (all)"},
    {OPT_FLAG, 0, "init", &o.init, NULL, "the folder has no weights: draw them as config.json says"},
    TRAIN_OPTIONS(train, "1e-5"),
    OPT_END};

static const struct cli_tool tool = {
    "full-train",
    "-m DIR -o OUT [options] TRAIN.tok",
    "train the weights of a model",
    options,
    CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_COMPUTE | CLI_PLAN | CLI_FILES,
    {"full-train -m model/ -o tuned/ train.tok", "full-train -m model/ -o tuned/ --train 'bias$|norm' train.tok",
     "full-train -m config/ -o base/ --init --lr 1e-3 --warmup 0.05 text.tok"}};

static int start(void *arg, uint64_t seed, struct err *e)
{
    (void)e;
    weights_train_start(arg);
    if (o.init)
        weights_train_draw(arg, seed);
    return 0;
}

static int save(void *arg, const char *dir, const char *provenance, struct err *e)
{
    return weights_train_save(arg, dir, provenance, e);
}

static void detach(void *arg)
{
    weights_train_detach(arg);
}

static int attach(struct model *m, struct train_subject *s, json_t *settings, struct err *e)
{
    struct weights_train *w = weights_train_select(m, cli.model, o.regex, e);
    if (!w)
        return -1;
    *s = (struct train_subject){w, start, save, "config.json"};
    json_object_set_new(settings, "train", o.regex ? json_string(o.regex) : json_null());
    json_object_set_new(settings, "init", json_boolean(o.init));
    return 0;
}

static int64_t saved_bytes(const struct model *m)
{
    int type = m->config.stored_type < 0 ? DTYPE_F32 : m->config.stored_type;
    int64_t weights = m->folder ? m->folder->bytes : model_config_parameters(&m->config) * (int64_t)dtype_size((enum dtype)type);
    return weights + (8 << 20); /* tokenizer, headers */
}

int main(int argc, char **argv)
{
    int first = cli_begin(&tool, argc, argv);
    if (o.init && o.regex)
        die_usage("--init draws every weight, so --train cannot leave some out");
    struct buf plan = BUF_INIT;
    const struct train_command c = {.tool = "full-train", .o = &train, .init = o.init, .attach = attach, .detach = detach,
                                    .saved_bytes = saved_bytes, .what = "the model", .plan = &plan};
    int status = train_command(&c, argv + first, argc - first);
    fputs(buf_str(&plan), stdout);
    buf_release(&plan);
    return cli_end(status);
}
