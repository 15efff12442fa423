#include "train/command.h"

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
#include "train/checks.h"
#include "train/device.h"
#include "train/log_place.h"
#include "train/plan_text.h"
#include "train/session.h"

#define DISK_MARGIN (1 << 20)

static void say(const char *text)
{
    msg_info("%s: %s", cli.output, text);
}

static void warn(const char *text)
{
    msg_warn("%s", text);
}

static void check_usage(const struct train_command *c, int n_files)
{
    const struct train_options *o = c->o;
    if (!cli.model)
        die_usage("-m DIR, the model, is missing");
    if (!cli.output)
        die_usage("-o OUT, the folder to train in, is missing");
    if (n_files != 1)
        die_usage("expected one token file, found %d", n_files);
    if (o->steps && o->epochs_given)
        die_usage("--steps and --epochs exclude each other");
    if (o->batch_tokens && o->batch_given)
        die_usage("--batch-tokens and --batch exclude each other");
    if (!strcmp(o->offload, "activations") && !strcmp(o->recompute, "layer"))
        die_usage("--offload activations and --recompute layer exclude each other");
    if (o->eval_every && !o->eval)
        die_usage("--eval-every needs --eval FILE.tok");
}

static void introduce(const struct session *s)
{
    char all[32], mem[32], alone[64] = "";
    int64_t trained, total = session_parameters(s, &trained);
    bool extra = s->model->n_params && strstr(s->model->params[0]->name, "lora_"); /* a pair comes on top of the base */
    progress_format_count(all, sizeof all, (double)total);
    progress_format_bytes(mem, sizeof mem, (double)s->plan.peak);
    if (s->plan.room > s->plan.rows)
        snprintf(alone, sizeof alone, " (a sample of %" PRId64 " by itself)", s->plan.room);
    msg_info("%s: %s, %d layers, %s parameters; %s: %" PRId64 " samples, %" PRId64 " tokens, %" PRId64 " trained", cli.model, s->model->config.type,
             s->model->config.layers, all, s->train->path, s->train->n_samples, s->train->n_tokens, s->train->n_trained);
    msg_info("trains %" PRId64 " of %" PRId64 " parameters (%.3g%%) in %" PRId64 " steps of at most %" PRId64 " rows at once%s, %s, memory %s%s", trained,
             total + (extra ? trained : 0), 100 * (double)trained / (double)(total + (extra ? trained : 0)), s->schedule.total, s->plan.rows, alone,
             s->model->bf16 ? "bf16" : "f32", mem, s->plan.recompute ? ", activations computed again" : s->plan.host ? ", activations in the host's memory" : "");
}

/* Only now, so that a run that cannot begin says one line. */
static void begun(void *arg, int64_t from, int64_t total)
{
    introduce(arg);
    if (from > 0)
        msg_info("goes on from step %" PRId64 " of %" PRId64, from, total);
    progress_begin("step", from, total);
}

/* Refuses, or completes, what an earlier run left. 1: nothing is left to do. */
static int look_at_earlier(const struct train_command *c, const struct session *s, const struct run_record *old, int found, struct err *e)
{
    if (found != 1 || c->o->restart || cli.force)
        return 0;
    if (strcmp(old->tool, c->tool))
        return err_set(e, "%s: was made by %s; --restart begins anew", cli.output, old->tool);
    char *diff = run_differences(old->run, s->run);
    if (diff)
        err_set(e, "%s: an earlier run there had other inputs or options: %s; --restart begins anew", cli.output, diff);
    free(diff);
    return e->set ? -1 : run_record_is_whole(old, cli.output);
}

static int check_resources(const struct train_command *c, const struct session *s, int64_t memory, struct err *e)
{
    if (memory >= 0 && s->plan.peak > memory) {
        char need[32], have[32];
        progress_format_bytes(need, sizeof need, (double)s->plan.peak);
        progress_format_bytes(have, sizeof have, (double)memory);
        return err_set(e, "needs %s of memory, %s may be used; fewer --rows, --recompute layer or shorter samples need less", need, have);
    }
    if (s->plan.host && mem_available() >= 0 && s->plan.host > mem_available())
        return err_set(e, "--offload activations: needs %" PRId64 " bytes of the host's memory, %" PRId64 " are available", s->plan.host, (int64_t)mem_available());
    long long free_bytes = outfile_free_space(cli.output);
    int64_t need = session_disk_bytes(s) + DISK_MARGIN;
    if (free_bytes >= 0 && need > free_bytes)
        return err_set(e, "%s: needs %" PRId64 " bytes of disk for %" PRId64 " checkpoints and the result, %lld are free; --keep 1 needs less", cli.output,
                       need, c->o->keep + 1, free_bytes);
    return 0;
}

/* What is at the place of the log must be of this run, and writable, before anything is. */
static int check_log(const struct train_command *c, const struct run_record *old, int found, struct err *e)
{
    char *usual = file_join(cli.output, "log.jsonl");
    const struct log_place w = {cli.output, found == 1 ? old->run : NULL, c->o->log != NULL, cli.force || (c->o->restart && !c->o->log)};
    int r = log_place_check(c->o->log ? c->o->log : usual, &w, e);
    free(usual);
    return r;
}

static int report(const struct session *s, const struct train_result *r)
{
    char time[32], rate[32], memory[32];
    double seconds = progress_seconds();
    progress_end();
    device_report();
    progress_format_time(time, sizeof time, seconds);
    progress_format_count(rate, sizeof rate, seconds > 0 ? (double)r->tokens / seconds : 0);
    progress_format_bytes(memory, sizeof memory, (double)progress_peak_memory());
    summary_count("steps", r->step);
    summary_count("tokens", r->tokens);
    summary_count("peak_memory", progress_peak_memory());
    double rows, flops = session_flops(s, &rows);
    summary_real("flops_per_token", flops / rows);
    if (!isnan(r->loss))
        summary_real("loss", r->loss);
    if (!isnan(r->eval_loss))
        summary_real("eval_loss", r->eval_loss);
    if (r->outcome == TRAIN_DIVERGED) {
        if (r->kept < 0)
            msg_error("%s; there is no checkpoint before it", r->why);
        else
            msg_error("%s; the checkpoint of step %" PRId64 " is kept in %s", r->why, r->kept, cli.output);
        return EXIT_DIVERGED;
    }
    if (r->outcome == TRAIN_STOPPED) {
        msg_info("stopped at step %" PRId64 "; the same command goes on from there", r->step);
        return EXIT_STOPPED;
    }
    msg_info("%" PRId64 " steps in %s, %s tok/s, loss %.4g, peak memory %s; %s is in %s", r->step, time, rate, r->loss, memory, s->c->what, cli.output);
    return EXIT_DONE;
}

/* EXIT_STOPPED or EXIT_DIVERGED: training cannot begin. */
static int prepare(const struct train_command *c, struct session *s, struct err *e)
{
    int r = c->method ? c->method->prepare(c->method->arg, s, e) : 0;
    if (r == 1)
        msg_info("stopped before the first step; the same command begins again");
    if (r == 2)
        msg_error("%s", e->text);
    return r == 1 ? EXIT_STOPPED : r == 2 ? EXIT_DIVERGED : r;
}

static int train(const struct train_command *c, struct session *s, int found, struct err *e)
{
    char busy[200], *log = file_join(cli.output, "log.jsonl");
    struct run_folder *folder = run_folder_open(cli.output, c->tool, busy, e);
    struct train_result result = {0};
    int status = folder ? 0 : -1;
    if (!folder && busy[0]) {
        msg_error("%s: %s", cli.output, busy);
        status = EXIT_STOPPED;
    }
    if (folder && (cli.force || c->o->restart))
        status = run_folder_clear(folder, cli.force && found != 1, e);
    if (status == 0)
        status = prepare(c, s, e);
    if (status == 0)
        status = plan_commit(&s->plan, &s->optimizer, e);
    if (status == 0) {
        struct train_objective objective = c->method ? c->method->objective(c->method->arg, s) : objective_tokens;
        struct train_job j = {.o = c->o, .model = s->model, .train = s->train, .eval = s->eval, .optimizer = &s->optimizer, .plan = &s->plan,
                              .batches = &s->batches, .schedule = s->schedule, .folder = folder, .subject = s->subject, .objective = &objective, .tool = c->tool,
                              .log_path = c->o->log ? c->o->log : log, .log_default = log, .run = s->run, .provenance = s->provenance, .seed = (uint64_t)cli.seed, .stop = stop_requested,
                              .say = say, .warn = warn, .begun = begun, .begun_arg = s, .progress = progress_step};
        status = train_run(&j, &result, e);
        if (status == 0)
            status = report(s, &result);
    }
    run_folder_close(folder);
    free(log);
    return status;
}

static int command(const struct train_command *c, struct session *s, struct run_record *old, const char *file, struct err *e)
{
    int64_t memory;
    struct err foreign = ERR_INIT;
    int found = run_record_read(old, cli.output, &foreign);
    if (found < 0 && (!cli.force || !file_is_dir(cli.output))) {
        *e = foreign;
        return -1;
    }
    if (session_open(s, c, file, e) < 0)
        return -1;
    memory = plan_memory(s->model->k, c->o->memory);
    if (session_plan(s, memory, e) < 0 || session_describe(s, e) < 0)
        return -1;
    if (s->model->warning)
        msg_warn("%s", s->model->warning);
    int done = look_at_earlier(c, s, old, found, e);
    if (done < 0)
        return -1;
    if (cli.plan) {
        plan_text(c->plan, s, memory, done == 1);
        return check_resources(c, s, memory, e);
    }
    if (done == 1) {
        msg_info("%s: already complete", cli.output);
        return 0;
    }
    stop_defer();
    if (check_log(c, old, found, e) < 0 || check_resources(c, s, memory, e) < 0 || check_weights(s->model, e) < 0)
        return -1;
    if (stop_requested()) {
        msg_info("stopped before the first step");
        return EXIT_STOPPED;
    }
    return train(c, s, found, e);
}

int train_command(const struct train_command *c, char **files, int n_files)
{
    struct session s = {0};
    struct run_record old = {0};
    struct err e = ERR_INIT;
    check_usage(c, n_files);
    int status = command(c, &s, &old, files[0], &e);
    if (s.c)
        session_close(&s);
    run_record_release(&old);
    if (status >= 0)
        return status;
    msg_error("%s", e.text);
    return EXIT_FAILED;
}
