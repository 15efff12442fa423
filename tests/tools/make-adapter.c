/* make-adapter: a LoRA adapter for a model folder, with the values of tests/tools/formula.h (seeded by --salt). */
#include <stdlib.h>

#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "format/adapter.h"
#include "tests/tools/formula.h"

static struct {
    const char *bias, *targets, *salt, *skip, *rank_pattern;
    int64_t rank;
    double alpha;
    bool rslora, foreign, zero;
} o = {.bias = "none", .targets = ".*_proj", .salt = "", .rank = 4, .alpha = 8};

static const struct opt options[] = {
    {OPT_COUNT, 0, "rank", &o.rank, "N", "rank (4)", .min = 1, .max = 1000},
    {OPT_REAL, 0, "alpha", &o.alpha, "X", "alpha (8)"},
    {OPT_FLAG, 0, "rslora", &o.rslora, NULL, "rank-stabilised scale"},
    {OPT_CHOICE, 0, "bias", &o.bias, "none|all|lora_only", "trained biases (none)"},
    {OPT_STRING, 0, "targets", &o.targets, "REGEX", "modules (.*_proj)"},
    {OPT_STRING, 0, "rank-pattern", &o.rank_pattern, "NAME", "these modules have twice the rank"},
    {OPT_STRING, 0, "salt", &o.salt, "TEXT", "put before the names in the formula: another adapter"},
    {OPT_STRING, 0, "skip", &o.skip, "KEY", "leave this tensor out"},
    {OPT_FLAG, 0, "foreign", &o.foreign, NULL, "no provenance"},
    {OPT_FLAG, 0, "zero", &o.zero, NULL, "B is zero"},
    OPT_END};

static const struct cli_tool tool = {"make-adapter", "[options] -m DIR -o DIR", "write an adapter for tests", options, CLI_OUTPUT | CLI_MODEL,
                                     {"make-adapter -m tiny/ -o adapter/", "make-adapter -m tiny/ --rslora -o adapter/"}};

static struct st_tensor *list;
static int n_tensors;

static void add(const char *module, const char *suffix, int64_t rows, int64_t columns)
{
    char *name = mem_printf("base_model.model.%s%s", module, suffix), *seed = mem_printf("%s%s", o.salt, name);
    int64_t count = columns ? rows * columns : rows;
    float *values = mem_zalloc((size_t)count, sizeof *values);
    if (!o.zero || !strstr(suffix, "_B"))
        formula_fill(values, seed, (uint64_t)count);
    free(seed);
    if (o.skip && !strcmp(o.skip, name)) {
        free(name);
        free(values);
        return;
    }
    list[n_tensors++] = (struct st_tensor){.name = name, .type = DTYPE_F32, .ndim = columns ? 2 : 1, .shape = {rows, columns}, .data = values};
}

static void add_pair(const char *module, const struct st_tensor *w, int rank)
{
    if (strstr(module, "embed_tokens")) {
        add(module, ".lora_embedding_A", rank, w->shape[0]);
        add(module, ".lora_embedding_B", w->shape[1], rank);
    } else {
        add(module, ".lora_A.weight", rank, w->shape[1]);
        add(module, ".lora_B.weight", w->shape[0], rank);
    }
}

static void add_tensors(const struct model_folder *f, const struct adapter_config *c, struct err *e)
{
    list = mem_zalloc((size_t)f->n_tensors * 2 + 2, sizeof *list);
    for (int i = 0; i < f->n_tensors; i++) {
        const struct st_tensor *t = f->tensors[i];
        char *module = mem_strndup(t->name, (size_t)(strrchr(t->name, '.') - t->name));
        bool bias = !strcmp(strrchr(t->name, '.'), ".bias");
        int rank;
        double scale;
        int targeted = adapter_targets(c, module, &rank, &scale, e);
        if (targeted < 0)
            die_err(e);
        if (targeted && !bias && t->ndim == 2)
            add_pair(module, t, rank);
        if (bias && strcmp(o.bias, "none") && (targeted || !strcmp(o.bias, "all")))
            add(module, targeted ? ".base_layer.bias" : ".bias", t->shape[0], 0);
        free(module);
    }
    int rank;
    double scale;
    const struct st_tensor *embedding = model_folder_find(f, "model.embed_tokens.weight");
    if (!model_folder_find(f, "lm_head.weight") && embedding && adapter_targets(c, "lm_head", &rank, &scale, e) == 1)
        add_pair("lm_head", embedding, rank);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int first = cli_begin(&tool, argc, argv);
    if (first != argc || !cli.output || !cli.model)
        die_usage("expected -m DIR, -o DIR and no operands");
    struct adapter_pattern pattern = {(char *)o.rank_pattern, (double)o.rank * 2};
    struct adapter_config c = {.r = (int)o.rank, .alpha = o.alpha, .rslora = o.rslora, .base_name = (char *)cli.model,
                               .target_regex = (char *)o.targets, .rank_pattern = &pattern, .n_rank_pattern = o.rank_pattern != NULL};
    snprintf(c.bias, sizeof c.bias, "%s", o.bias);
    struct model_folder *f = model_folder_open(cli.model, &e);
    if (!f)
        die_err(&e);
    add_tensors(f, &c, &e);
    struct outdir *d = outdir_open(cli.output, cli.force, &e);
    char *provenance = mem_printf("{\"base\":\"%s\",\"tool\":\"make-adapter\"}", f->fingerprint);
    if (!d || adapter_write(outdir_path(d), &c, list, n_tensors, o.foreign ? NULL : provenance, &e) < 0 || outdir_commit(d, &e) < 0)
        die_err(&e);
    free(provenance);
    model_folder_close(f);
    for (int i = 0; i < n_tensors; i++) {
        free(list[i].name);
        free((void *)list[i].data);
    }
    free(list);
    return cli_end(EXIT_DONE);
}
