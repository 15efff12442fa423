/* quantize: a model whose weights take 2 to 8 bits, in the layouts that others read. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/stop.h"
#include "cli/summary.h"
#include "format/model_folder.h"
#include "format/model_writer.h"
#include "quantize/layer_file.h"
#include "quantize/plan.h"
#include "quantize/report.h"
#include "quantize/solver.h"
#include "train/checks.h"

static struct {
    const char *method, *calibrate, *skip;
    int64_t bits, group, block, max_shard, memory;
    double threshold, damp;
    bool nested, asym, act_order, at_once, no_scale, no_clip, report, restart;
    bool bits_given, group_given, block_given, threshold_given, damp_given;
} o = {.bits = 4, .group = 128, .block = 64, .threshold = 6, .damp = 0.05, .max_shard = MODEL_MAX_SHARD};

static const struct opt options[] = {
    {OPT_CHOICE, 0, "method", &o.method, "int8|nf4|fp4|rtn|gptq|awq", "how weights are stored"},
    {OPT_COUNT, 0, "bits", &o.bits, "N", "rtn, gptq: bits of a weight, 2, 3, 4 or 8 (4)", .min = 2, .max = 8, .given = &o.bits_given},
    {OPT_COUNT, 0, "group", &o.group, "N", "rtn, gptq, awq: inputs that share a scale; 0: all (128)", .min = 0, .max = 1e6, .given = &o.group_given},
    {OPT_COUNT, 0, "block", &o.block, "N", "nf4, fp4: weights that share a scale, 32 to 4096 (64)", .min = 32, .max = 4096, .given = &o.block_given},
    {OPT_FLAG, 0, "double-quant", &o.nested, NULL, "nf4, fp4: quantize the scales, too"},
    {OPT_FLAG, 0, "asym", &o.asym, NULL, "rtn, gptq: a zero point for each group"},
    {OPT_FLAG, 0, "act-order", &o.act_order, NULL, "gptq: columns that matter most first (desc_act)"},
    {OPT_FLAG, 0, "no-true-sequential", &o.at_once, NULL, "gptq: all modules of a layer on the inputs of the unquantized ones"},
    {OPT_REAL, 0, "damp", &o.damp, "X", "gptq: share of the mean diagonal that is added, raised where it must be (0.05)", .min = 0, .max = 1,
     .given = &o.damp_given},
    {OPT_FLAG, 0, "no-scale", &o.no_scale, NULL, "awq: leave out the search of scales"},
    {OPT_FLAG, 0, "no-clip", &o.no_clip, NULL, "awq: leave out the search of narrower ranges"},
    {OPT_REAL, 0, "threshold", &o.threshold, "X", "int8: inputs from here on are outliers (6)", .min = 0, .max = 1e6, .given = &o.threshold_given},
    {OPT_STRING, 0, "calibrate", &o.calibrate, "FILE.tok", "gptq, awq: token file to calibrate on", .path = OPT_INPUT},
    {OPT_STRING, 0, "skip", &o.skip, "REGEX", "leave modules whose whole name matches as they are"},
    {OPT_SIZE, 0, "max-shard", &o.max_shard, "SIZE", "bytes of tensors per file (5G)", .min = 1, .max = 1e18},
    {OPT_SIZE, 0, "memory", &o.memory, "SIZE", "memory that may be used (what the machine has available)", .min = 1, .max = 1e18},
    {OPT_FLAG, 0, "report", &o.report, NULL, "print bits, size and error of every module"},
    {OPT_FLAG, 0, "restart", &o.restart, NULL, "begin anew: drop what an earlier run left in DIR"},
    OPT_END};

static const struct cli_tool tool = {
    "quantize", "-m DIR -o DIR --method METHOD [options]", "store a model's weights in 2 to 8 bits", options,
    CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_DEVICE | CLI_PLAN,
    {"quantize -m model/ -o model-nf4/ --method nf4 --double-quant", "quantize -m model/ -o model-4bit/ --method rtn --report"}};

static void refuse(bool given, bool of_method, const char *option)
{
    if (given && !of_method)
        die_usage("--%s is none of --method %s", option, o.method);
}

static struct quantize_options check_usage(int operands)
{
    struct quantize_options q = {.nested = o.nested, .sym = !o.asym, .threshold = o.threshold, .skip = o.skip, .act_order = o.act_order,
                                  .true_sequential = !o.at_once, .damp = o.damp, .no_scale = o.no_scale, .no_clip = o.no_clip};
    if (operands || !cli.model || !o.method || (!cli.output && !cli.plan))
        die_usage("expected -m DIR, -o DIR and --method");
    while (strcmp(quantize_method_name(q.method), o.method))
        q.method++;
    bool words = q.method >= QUANTIZE_RTN, four = q.method == QUANTIZE_NF4 || q.method == QUANTIZE_FP4;
    bool calibrates = solver_has(q.method);
    refuse(o.group_given, words, "group");
    refuse(o.block_given, four, "block");
    refuse(o.nested, four, "double-quant");
    refuse(o.asym, q.method == QUANTIZE_RTN || q.method == QUANTIZE_GPTQ, "asym");
    refuse(o.act_order, q.method == QUANTIZE_GPTQ, "act-order");
    refuse(o.at_once, q.method == QUANTIZE_GPTQ, "no-true-sequential");
    refuse(o.damp_given, q.method == QUANTIZE_GPTQ, "damp");
    refuse(o.no_scale, q.method == QUANTIZE_AWQ, "no-scale");
    refuse(o.no_clip, q.method == QUANTIZE_AWQ, "no-clip");
    refuse(o.threshold_given, q.method == QUANTIZE_INT8, "threshold");
    refuse(o.calibrate != NULL, calibrates, "calibrate");
    if (calibrates && !o.calibrate)
        die_usage("--method %s needs --calibrate FILE.tok", o.method);
    q.bits = q.method == QUANTIZE_INT8 ? 8 : four || q.method == QUANTIZE_AWQ ? 4 : (int)o.bits;
    if (o.bits != q.bits && o.bits_given)
        die_usage("--bits %" PRId64 ": --method %s has %d", o.bits, o.method, q.bits);
    if (q.bits != 2 && q.bits != 3 && q.bits != 4 && q.bits != 8)
        die_usage("--bits %d: expected 2, 3, 4 or 8", q.bits);
    if (o.block & (o.block - 1))
        die_usage("--block %" PRId64 ": expected a power of two, 32 to 4096", o.block);
    q.group = words ? o.group : 0;
    q.block = four ? o.block : 0;
    return q;
}

static void say(const char *text)
{
    msg_warn("%s", text);
}

static void show_progress(int64_t done, int64_t from, int64_t total)
{
    static bool begun;
    if (!begun && from > 0)
        msg_info("goes on at layer %" PRId64, from);
    if (!begun)
        progress_begin("layer", from, total);
    begun = true;
    progress_step(done, 0, "");
}

/* Refuses, or completes, what an earlier run left. 1: nothing is left to do. */
static int look_at_earlier(const char *run, const struct run_record *old, int found, struct err *e)
{
    if (found != 1 || o.restart || cli.force)
        return 0;
    if (strcmp(old->tool, tool.name))
        return err_set(e, "%s: was made by %s; --restart begins anew", cli.output, old->tool);
    char *diff = run_differences(old->run, run);
    if (diff)
        err_set(e, "%s: an earlier run there had other inputs or options: %s; --restart begins anew", cli.output, diff);
    free(diff);
    return e->set ? -1 : run_record_is_whole(old, cli.output);
}

static int check_resources(const struct quantize_job *j, const struct quantize_plan *p, int64_t available, int64_t free_bytes, struct err *e)
{
    int64_t there = p->device ? j->device->free_memory() : 0;
    if (p->device > there)
        return err_set(e, "needs %" PRId64 " bytes of memory on %s, %" PRId64 " may be used", p->device, j->device->name, there);
    if (available >= 0 && p->memory > available)
        return err_set(e, "needs %" PRId64 " bytes of memory, %" PRId64 " may be used", p->memory, available);
    if (free_bytes >= 0 && p->disk > free_bytes)
        return err_set(e, "%s: needs %" PRId64 " bytes of disk, %" PRId64 " are free", cli.output, p->disk, free_bytes);
    return 0;
}

static int print_plan(const struct quantize_job *j, const struct quantize_plan *p, int64_t available, int64_t free_bytes, struct err *e)
{
    struct buf b = BUF_INIT;
    quantize_plan_text(&b, p, j->selection, available, free_bytes, quantize_plan_seconds(p, j->o, j->selection, j->model, j->tokens),
                       j->device->name);
    fputs(buf_str(&b), stdout);
    buf_release(&b);
    return check_resources(j, p, available, free_bytes, e);
}

static void report(const struct quantize_job *j, json_t *list, int64_t bytes)
{
    struct report_totals t = report_sum(list);
    int64_t parameters = model_config_parameters(&j->model->config);
    double whole = 8.0 * (double)bytes / (double)parameters;
    if (o.report) {
        struct buf b = BUF_INIT;
        report_table(&b, list);
        fputs(buf_str(&b), stdout);
        printf("%d modules, %" PRId64 " weights, %" PRId64 " bytes: %.3f bits a weight; the whole model: %" PRId64 " weights, %" PRId64 " bytes: %.3f bits\n",
               t.modules, t.weights, t.bytes, t.bits, parameters, bytes, whole);
        buf_release(&b);
        summary_json("report", json_incref(list));
    }
    summary_string("method", o.method);
    summary_count("modules", t.modules);
    summary_count("kept", t.kept);
    summary_count("weights", t.weights);
    summary_count("bytes", t.bytes);
    summary_real("bits", t.bits);
    summary_real("mean_weight_error", t.weight_error);
    summary_count("model_weights", parameters);
    summary_count("model_bytes", bytes);
    summary_real("model_bits", whole);
    summary_count("peak_memory", progress_peak_memory());
}

static void last_line(const struct quantize_job *j, const struct quantize_result *r)
{
    struct report_totals t = report_sum(r->report);
    char size[32], peak[32], time[32];
    progress_format_bytes(size, sizeof size, (double)r->bytes);
    progress_format_bytes(peak, sizeof peak, (double)progress_peak_memory());
    snprintf(time, sizeof time, "%.1f s", progress_seconds());
    msg_info("%d modules of %d layers at %.3g bits a weight, mean error %.3g, largest %.3g (%s); %s in %s, peak memory %s; the model is in %s", t.modules,
             j->selection->layers, t.bits, t.weight_error, t.worst_error, t.worst, size, time, peak, cli.output);
}

static int quantize(struct quantize_job *j, struct err *e)
{
    char busy[200];
    struct run_record old = {0};
    struct quantize_result r = {0};
    j->folder = run_folder_open(cli.output, tool.name, busy, e);
    if (!j->folder && busy[0]) {
        msg_error("%s: %s", cli.output, busy);
        return EXIT_STOPPED;
    }
    struct err ignored = ERR_INIT;
    int found = run_record_read(&old, cli.output, &ignored), status = j->folder ? 0 : -1;
    run_record_release(&old);
    if (status == 0 && (cli.force || o.restart))
        status = run_folder_clear(j->folder, cli.force && found != 1, e);
    if (status == 0)
        status = quantize_run(j, &r, e);
    progress_end();
    if (status == 0) {
        report(j, r.report, r.bytes);
        last_line(j, &r);
    }
    if (status == 1) {
        msg_info("stopped after %d of %d layers; the same command goes on from there", r.layer, j->selection->layers);
        status = EXIT_STOPPED;
    }
    json_decref(r.report);
    run_folder_close(j->folder);
    return status;
}

/* What an earlier run finished, and its files of layers, which a kill at the very end may have left. */
static int already_complete(const struct quantize_job *j, struct err *e)
{
    char *path = file_join(cli.output, "log.jsonl");
    struct model_folder *f = model_folder_open(cli.output, e);
    json_t *list = f ? report_read(path, e) : NULL;
    int status = list ? layer_files_remove(j->out, e) : -1;
    if (status == 0) {
        report(j, list, f->bytes);
        msg_info("%s: already complete", cli.output);
    }
    free(path);
    json_decref(list);
    model_folder_close(f);
    return status;
}

static int run(struct quantize_job *j, struct run_record *old, struct err *e)
{
    struct quantize_plan plan;
    char *run_text = NULL, *provenance = NULL;
    int64_t available = o.memory ? o.memory : mem_available(), free_bytes = outfile_free_space(j->out);
    struct err foreign = ERR_INIT;
    int found = cli.output ? run_record_read(old, cli.output, &foreign) : 0;
    if (found < 0 && (!cli.force || !file_is_dir(cli.output))) {
        *e = foreign;
        return -1;
    }
    if (quantize_describe(j, &run_text, &provenance, e) < 0)
        return -1;
    quantize_plan(&plan, j->o, j->selection, j->model, j->device, j->tokens);
    j->run = run_text, j->provenance = provenance;
    int done = cli.output ? look_at_earlier(run_text, old, found, e) : 0;
    if (done >= 0 && cli.plan)
        done = print_plan(j, &plan, available, free_bytes, e);
    else if (done == 1)
        done = already_complete(j, e);
    else if (done == 0 && (done = check_resources(j, &plan, available, free_bytes, e)) == 0) {
        msg_info("%s: %s, %d layers; %s: %d modules, %" PRId64 " weights%s", cli.model, j->model->config.type, j->model->config.layers, o.method,
                 j->selection->n_quantized, j->selection->weights, j->selection->n_kept ? ", others as they are" : "");
        stop_defer();
        done = quantize(j, e);
    }
    free(run_text);
    free(provenance);
    return done;
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int operands = argc - cli_begin(&tool, argc, argv);
    mem_keep_freed();
    struct quantize_options q = check_usage(operands);
    struct quantize_selection selection = {0};
    struct run_record old = {0};
    const struct kernels *k = kernels_open("cpu", &e);
    struct quantize_job j = {.o = &q, .device = k, .selection = &selection, .out = cli.output ? cli.output : ".", .max_shard = o.max_shard, .stop = stop_requested,
                             .say = say, .progress = show_progress};
    struct token_file *tokens = NULL;
    if (!k || !(j.model = model_open(cli.model, k, &e)) || (solver_has(q.method) && !(j.device = kernels_open(cli.device, &e))))
        die_err(&e);
    if (o.calibrate && (!(j.tokens = tokens = token_file_open(o.calibrate, &e)) || token_file_expect(tokens, TOKEN_KIND_SAMPLES, &e) < 0 ||
                        check_tokens(j.model, cli.model, tokens, &e) < 0))
        die_err(&e);
    if (j.model->warning)
        msg_warn("%s", j.model->warning);
    int status = quantize_select(&selection, &q, j.model, &e) < 0 ? -1 : run(&j, &old, &e);
    quantize_selection_release(&selection);
    run_record_release(&old);
    token_file_close(tokens);
    model_close(j.model);
    if (status < 0)
        msg_error("%s", e.text);
    return cli_end(status < 0 ? EXIT_FAILED : status);
}
