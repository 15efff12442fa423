/* adapter-merge: add LoRA adapters into the model they were made for. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "format/model_writer.h"
#include "model/merge.h"
#include "train/merge_check.h"

static struct {
    const char *weights, *type, *check, *base16;
    int64_t max_shard;
    double max_kl;
    bool requantize, type_given, max_kl_given;
} o = {.type = "keep", .max_shard = MODEL_MAX_SHARD, .max_kl = 1e-3};

static const struct opt options[] = {
    {OPT_STRING, 'w', "weights", &o.weights, "W,...", "factor of each adapter's change, one per ADAPTER (1 each)"},
    {OPT_CHOICE, 0, "dtype", &o.type, "bf16|f16|f32|keep", "type of the stored weights (keep)", .given = &o.type_given},
    {OPT_STRING, 0, "base16", &o.base16, "DIR", "merge into this model, from which the quantized one of -m was made", .path = OPT_INPUT},
    {OPT_FLAG, 0, "requantize", &o.requantize, NULL, "merge back into the layout in which the model of -m is quantized"},
    {OPT_SIZE, 0, "max-shard", &o.max_shard, "SIZE", "bytes of tensors per file (5G)", .min = 1, .max = 1e18},
    {OPT_STRING, 0, "check", &o.check, "FILE.tok", "compare with base and adapters over this token file before the result appears",
     .path = OPT_INPUT},
    {OPT_REAL, 0, "max-kl", &o.max_kl, "X", "largest mean divergence that --check accepts, in nats (1e-3; any with --base16 and --requantize)",
     .min = 0, .max = 1e9, .given = &o.max_kl_given},
    OPT_END};

static const struct cli_tool tool = {
    "adapter-merge", "-m DIR -o DIR [options] ADAPTER...", "add LoRA adapters into the model they were made for", options,
    CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_DEVICE | CLI_PLAN | CLI_FILES,
    {"adapter-merge -m model/ -o merged/ adapter/", "adapter-merge -m model/ -o both/ --weights 1,0.5 first/ second/"}};

static double *parse_weights(int n)
{
    double *weights = mem_array(NULL, (size_t)n, sizeof *weights);
    const char *p = o.weights;
    for (int i = 0; i < n; i++) {
        char *end = NULL;
        weights[i] = p ? strtod(p, &end) : 1;
        if (p && (end == p || !isfinite(weights[i]) || (*end && *end != ',')))
            die_usage("--weights %s: expected numbers with commas between them", o.weights);
        if (p && (*end == ',') != (i + 1 < n))
            die_usage("--weights %s: expected %d number%s, one for each adapter", o.weights, n, n == 1 ? "" : "s");
        p = p ? end + 1 : NULL;
    }
    return weights;
}

static int parse_type(void)
{
    return !strcmp(o.type, "bf16") ? DTYPE_BF16 : !strcmp(o.type, "f16") ? DTYPE_F16 : !strcmp(o.type, "f32") ? DTYPE_F32 : -1;
}

static void check_space(const struct merge_plan *p)
{
    long long have = outfile_free_space(cli.output), need = p->bytes + 1000000 + 500LL * p->n_tensors;
    if (have >= 0 && have < need)
        die("%s: the merged model needs %lld bytes of disk, %lld are free", cli.output, need, have);
}

/* k: of --check. */
static void print_plan(const struct merge_options *mo, const struct merge_plan *p, const struct kernels *k, const struct token_file *tokens)
{
    struct err e = ERR_INIT;
    int64_t memory = 2 * p->largest + p->module + (64LL << 20), check = 0;
    if (tokens && merge_check_memory(mo, k, p->bytes, tokens, &check, &e) < 0)
        die_err(&e);
    long long have = outfile_free_space(cli.output), need = p->bytes + 1000000 + 500LL * p->n_tensors;
    printf("tensors  %d, %d of them changed\n", p->n_tensors, p->n_changed);
    printf("disk     %lld bytes, %lld free\n", need, have);
    bool here = !tokens || k->host_memory;
    printf("memory   at most %lld bytes\n", (long long)(here && check > memory ? check : memory));
    if (!here)
        printf("memory   of %s, at most %lld bytes\n", k->name, (long long)check);
    if (p->untied)
        printf("lm_head  is split from the embedding\n");
    exit(cli_end(have >= 0 && have < need ? EXIT_FAILED : EXIT_DONE));
}

static int show_progress(int64_t bytes)
{
    progress_step(bytes >> 20, 0, "");
    return 0;
}

static char *options_json(const double *weights, int n)
{
    struct buf b = BUF_INIT;
    const char *target = o.base16 ? "\"base16\":true," : o.requantize ? "\"requantize\":true," : "";
    buf_printf(&b, "{%s\"dtype\":\"%s\",\"max_shard\":%lld,\"weights\":[", target, o.type, (long long)o.max_shard);
    for (int i = 0; i < n; i++)
        buf_printf(&b, "%s%.17g", i ? "," : "", weights[i]);
    buf_add_str(&b, "]}");
    return buf_detach(&b);
}

/* The result is still in its temporary folder: when it fails here, nothing of it appears. */
static void check(const struct merge_options *mo, const struct kernels *k, const char *dir, const struct token_file *t)
{
    struct err e = ERR_INIT;
    struct divergence d;
    msg_verbose("comparing with the base and its adapters over %lld tokens", (long long)t->n_trained);
    if (merge_check(mo, k, dir, t, &d, &e) < 0)
        die_err(&e);
    if (d.bad || d.bad_reference)
        die("%s: the scores of %s are not finite for %lld of %lld tokens, so they cannot be compared", o.check,
            d.bad_reference ? "the base with its adapters" : "the merged model", (long long)(d.bad_reference ? d.bad_reference : d.bad), (long long)d.rows);
    if (!(d.mean <= o.max_kl) && (o.max_kl_given || !(o.base16 || o.requantize)))
        die("%s: the merged model differs from the base with its adapters: mean KL %.3g over %lld tokens, at most %g is accepted", o.check, d.mean,
            (long long)d.rows, o.max_kl);
    msg_info("%s: mean KL to the base with its adapters %.3g, largest %.3g, over %lld tokens", o.check, d.mean, d.max, (long long)d.rows);
    summary_real("mean_kl", d.mean);
    summary_real("max_kl", d.max);
}

static void report(const struct merge_plan *p, int n)
{
    char size[32], peak[32];
    progress_format_bytes(size, sizeof size, (double)p->bytes);
    progress_format_bytes(peak, sizeof peak, (double)progress_peak_memory());
    summary_count("adapters", n);
    summary_count("tensors", p->n_tensors);
    summary_count("changed", p->n_changed);
    summary_count("bytes", p->bytes);
    summary_count("untied", p->untied);
    if (p->code_bytes) {
        summary_real("codes_moved", (double)p->moved_bytes / (double)p->code_bytes);
        if (!p->moved_bytes)
            msg_warn("%s: no code differs from the base's: what was learned is smaller than the steps of the grid, and lost; a merge without --requantize "
                     "keeps it, lora-train --merge-aware learns in such steps", cli.output);
    }
    summary_count("peak_memory", progress_peak_memory());
    msg_info("%s: %d tensors, %d changed, %s in %.1f s, peak memory %s", cli.output, p->n_tensors, p->n_changed, size, progress_seconds(), peak);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int first = cli_begin(&tool, argc, argv), n = argc - first;
    mem_keep_freed();
    if (!cli.model || (!cli.output && !cli.plan) || n < 1)
        die_usage("expected -m DIR, -o DIR and at least one ADAPTER");
    if (o.base16 && o.requantize)
        die_usage("--base16 and --requantize exclude each other");
    if (o.requantize && o.type_given)
        die_usage("--requantize keeps every tensor's type, so it takes no --dtype");
    if (!cli.output)
        cli.output = ".";
    double *weights = parse_weights(n);
    struct token_file *tokens = o.check ? token_file_open(o.check, &e) : NULL;
    if (o.check && (!tokens || token_file_expect(tokens, TOKEN_KIND_SAMPLES, &e) < 0))
        die_err(&e);
    const struct kernels *k = tokens ? kernels_open(cli.device, &e) : NULL;
    if (tokens && !k)
        die_err(&e);
    struct merge_options mo = {cli.model, (const char *const *)argv + first, weights, n, parse_type(), o.max_shard, o.base16, o.requantize};
    struct merge *m = merge_open(&mo, &e);
    if (!m)
        die_err(&e);
    struct merge_plan p = merge_plan(m);
    if (p.warning)
        msg_warn("%s", p.warning);
    if (p.aware)
        msg_warn("an adapter was trained with --merge-aware: only --requantize makes of it what was trained");
    if (cli.plan)
        print_plan(&mo, &p, k, tokens);
    check_space(&p);
    msg_verbose("%s: %d adapter%s change %d of %d tensors", cli.model, n, n == 1 ? "" : "s", p.n_changed, p.n_tensors);
    if (p.untied)
        msg_info("the output layer is tied to the embedding and an adapter changes one of them: they are written apart");
    struct outdir *d = outdir_open(cli.output, cli.force, &e);
    if (!d)
        die_err(&e);
    char *record = options_json(weights, n);
    progress_begin("MiB", 0, p.bytes >> 20);
    if (merge_write(m, outdir_path(d), tool.name, record, show_progress, &e) < 0)
        die_err(&e);
    progress_end();
    free(record);
    p = merge_plan(m);
    merge_close(m);
    if (tokens)
        check(&mo, k, outdir_path(d), tokens);
    if (outdir_commit(d, &e) < 0)
        die_err(&e);
    free(weights);
    token_file_close(tokens);
    report(&p, n);
    return cli_end(EXIT_DONE);
}
