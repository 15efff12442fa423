#include "train/loop.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cli/runlog.h"
#include "format/model_folder.h"
#include "train/optimizer_state.h"

#define SAVE_SECONDS 600 /* --save-every 0 */

struct loop {
    struct train_job *j;
    struct train_result *r;
    struct checkpoint_state s; /* where the run stands */
    struct runlog *log;
    struct pack pack;
    struct timespec began, saved, logged;
    double norm, lr;           /* of the last step */
};

static double seconds_since(const struct timespec *t)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - t->tv_sec) + 1e-9 * (double)(now.tv_nsec - t->tv_nsec);
}

/* ---- log ---- */

static int log_start(struct loop *l, struct err *e)
{
    int64_t parameters = 0;
    for (int i = 0; i < l->j->model->n_params; i++)
        parameters += l->j->model->params[i]->numel;
    return runlog_add(l->log, json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:o,s:I}", "type", "start", "tool", l->j->tool, "version", FINETOOLS_VERSION,
                                        "backend", l->j->model->k->name, "features", l->j->model->k->features, "steps",
                                        (json_int_t)l->s.total_steps, "parameters", (json_int_t)parameters, "rows", (json_int_t)l->j->plan->rows,
                                        "run", json_loads(l->j->run, 0, NULL), "time", (json_int_t)time(NULL)), e);
}

/* One line for the steps since the last one. */
static int log_step(struct loop *l, struct err *e)
{
    struct checkpoint_state *s = &l->s;
    double seconds = seconds_since(&l->logged);
    json_t *line = json_pack("{s:s,s:I,s:f,s:f,s:f,s:f,s:I,s:I,s:f,s:f}", "type", "step", "step", (json_int_t)s->step, "epoch", s->epoch, "loss",
                             s->log_loss / (double)s->log_steps, "lr", l->lr, "grad_norm", l->norm, "tokens", (json_int_t)s->log_tokens, "trained",
                             (json_int_t)s->log_trained, "tokens_per_second", seconds > 0 ? (double)s->log_tokens / seconds : 0.0, "time",
                             seconds_since(&l->began));
    s->log_steps = s->log_tokens = s->log_trained = 0;
    s->log_loss = 0;
    clock_gettime(CLOCK_MONOTONIC, &l->logged);
    if (l->j->objective->tell)
        l->j->objective->tell(l->j->objective->arg, line);
    return runlog_add(l->log, line, e);
}

static int log_eval(struct loop *l, const struct evaluation *v, struct err *e)
{
    clock_gettime(CLOCK_MONOTONIC, &l->logged);
    json_t *line = json_pack("{s:s,s:I,s:f,s:f,s:I,s:f}", "type", "eval", "step", (json_int_t)l->s.step, "epoch", l->s.epoch, "eval_loss", v->loss,
                             "eval_tokens", (json_int_t)v->trained, "time", seconds_since(&l->began));
    if (l->j->objective->tell_eval)
        l->j->objective->tell_eval(l->j->objective->arg, line);
    return runlog_add(l->log, line, e);
}

static int log_end(struct loop *l, int status, struct err *e)
{
    json_t *line = json_pack("{s:s,s:i,s:f}", "type", "end", "status", status, "time", seconds_since(&l->began));
    if (l->r->outcome == TRAIN_DIVERGED)
        json_object_set_new(line, "why", json_string(l->r->why));
    return runlog_add(l->log, line, e);
}

/* ---- checkpoints ---- */

static int write_checkpoint(void *arg, const char *dir, struct err *e)
{
    const struct train_job *j = arg;
    return j->subject.save(j->subject.arg, dir, j->provenance, e) < 0 ? -1 : optimizer_state_save(j->optimizer, j->model->k, dir, e);
}

static int save(struct loop *l, struct err *e)
{
    l->s.data_epoch = l->j->batches->epoch;
    l->s.data_next = l->j->batches->next;
    clock_gettime(CLOCK_MONOTONIC, &l->saved);
    json_decref(l->s.objective);
    l->s.objective = l->j->objective->state ? l->j->objective->state(l->j->objective->arg) : NULL;
    if (runlog_sync(l->log, e) < 0 || run_folder_save(l->j->folder, &l->s, write_checkpoint, l->j, l->j->o->keep, e) < 0)
        return err_prefix(e, "checkpoint of step %" PRId64, l->s.step);
    return run_folder_record(l->j->folder, "running", l->j->run, l->s.step, l->s.total_steps, e);
}

static int resume(struct loop *l, struct err *e)
{
    struct train_job *j = l->j;
    char *dir;
    struct checkpoint_state found = {0};
    if (run_folder_find(j->folder, j->run, j->say, &found, &dir, e) < 0)
        return -1;
    int r = 0;
    if (dir) {
        l->s = found;
        r = optimizer_state_load(j->optimizer, j->model->k, dir, e);
        if (r == 0 && j->objective->restore && j->objective->restore(j->objective->arg, found.objective, e) < 0)
            r = err_prefix(e, "%s", dir);
        batches_seek(j->batches, found.data_epoch, found.data_next);
    }
    free(dir);
    return r;
}

/* ---- a step ---- */

/* tensor: where it was seen first, NULL when that is not known. */
static int diverged(struct loop *l, int64_t step, const char *what, const char *where, const char *tensor)
{
    l->r->outcome = TRAIN_DIVERGED;
    snprintf(l->r->why, sizeof l->r->why, "step %" PRId64 ": %s is no finite number%s%s%s%s", step, what,
             tensor ? ", first seen in " : "", tensor ? where : "", tensor ? tensor : "", tensor ? "'" : "");
    return 1;
}

static int diverged_before(struct loop *l, const char *what)
{
    return diverged(l, l->s.step + 1, what, "the gradient of '", optimizer_find_bad_gradient(l->j->optimizer, l->j->model->k));
}

/* 1: stopped or diverged (see outcome), before anything was changed. */
static int gradients(struct loop *l, const struct batches_step *b, double *loss, struct err *e)
{
    struct train_job *j = l->j;
    const struct objective_step s = {j->plan->decoder, &l->pack, j->train, b, j->seed, l->s.step + 1};
    optimizer_zero_grad(j->optimizer, j->model->k);
    int r = j->objective->gradients(j->objective->arg, &s, loss, e);
    if (r == OBJECTIVE_STOPPED)
        l->r->outcome = TRAIN_STOPPED;
    return r == OBJECTIVE_NOT_FINITE ? diverged_before(l, "the loss") : r;
}

static int step(struct loop *l, struct err *e)
{
    struct train_job *j = l->j;
    struct batches_step b;
    double loss = 0;
    int64_t epoch = j->batches->epoch, next = j->batches->next;
    batches_next(j->batches, &b);
    bool finite = true;
    int r = gradients(l, &b, &loss, e);
    if (r == 0) {
        struct optimizer_options p = {l->lr = schedule_lr(&j->schedule, l->s.step + 1), j->o->beta1, j->o->beta2, j->o->eps, j->o->weight_decay, j->o->clip};
        l->norm = optimizer_step(j->optimizer, j->model->k, &p, l->s.step + 1, &finite);
        if (!isfinite(l->norm))
            r = diverged_before(l, "the gradient");
    }
    if (r != 0) {
        batches_seek(j->batches, epoch, next);
        return r;
    }
    if (!finite)
        return diverged(l, l->s.step + 1, "an updated weight", "'", optimizer_find_bad_value(j->optimizer, j->model->k));
    l->s.step++;
    l->s.epoch = b.epoch;
    l->s.tokens += b.rows, l->s.log_tokens += b.rows, l->r->tokens += b.rows;
    l->s.trained += b.trained, l->s.log_trained += b.trained;
    l->s.log_steps++;
    l->s.log_loss += loss;
    l->r->loss = loss;
    if (j->objective->made)
        j->objective->made(j->objective->arg);
    return l->s.step % j->o->log_every == 0 || l->s.step == l->s.total_steps ? log_step(l, e) : 0;
}

static bool eval_due(const struct loop *l)
{
    const struct train_job *j = l->j;
    if (!j->eval)
        return false;
    bool epoch_end = j->batches->next >= j->train->n_samples;
    return l->s.step == l->s.total_steps || (j->o->eval_every ? l->s.step % j->o->eval_every == 0 : epoch_end);
}

/* 1: stopped on the way, or diverged; the evaluation stays pending. */
static int eval(struct loop *l, struct err *e)
{
    struct evaluation v;
    l->s.eval_pending = true;
    int r = l->j->objective->evaluate(l->j->objective->arg, l->j->plan->decoder, &l->pack, l->j->eval, &v, e);
    if (r == OBJECTIVE_STOPPED)
        l->r->outcome = TRAIN_STOPPED;
    if (r == OBJECTIVE_NOT_FINITE)
        return diverged(l, l->s.step, "the loss of the held-out samples", NULL, NULL);
    if (r != 0)
        return r;
    l->s.eval_pending = false;
    l->r->eval_loss = v.loss;
    return log_eval(l, &v, e);
}

/* The evaluation that an earlier process left to be made, unless --eval is no longer given. The checkpoint then says that it
 * is done, as it would had nothing happened. */
static int eval_left(struct loop *l, struct err *e)
{
    int r = l->j->eval ? eval(l, e) : 0;
    l->s.eval_pending &= r != 0;
    return r == 0 ? save(l, e) : r;
}

static bool save_due(const struct loop *l)
{
    int64_t every = l->j->o->save_every;
    return l->s.step == l->s.total_steps || (every ? l->s.step % every == 0 : seconds_since(&l->saved) >= SAVE_SECONDS);
}

static void show_progress(const struct loop *l)
{
    char note[80];
    const struct train_objective *o = l->j->objective;
    int n = snprintf(note, sizeof note, "loss %.4g", l->r->loss);
    if (o->note)
        o->note(o->arg, note + n, sizeof note - (size_t)n);
    n = (int)strlen(note);
    if (!isnan(l->r->eval_loss))
        snprintf(note + n, sizeof note - (size_t)n, ", eval %.4g", l->r->eval_loss);
    l->j->progress(l->s.step, l->r->tokens, note);
}

/* 0: all steps are done; 1: stopped or diverged. */
static int all_steps(struct loop *l, struct err *e)
{
    int r = l->s.eval_pending ? eval_left(l, e) : 0;
    while (r == 0 && l->s.step < l->s.total_steps) {
        r = step(l, e);
        if (r == 0)
            show_progress(l);
        if (r == 0 && eval_due(l))
            r = eval(l, e);
        if (r == 0 && save_due(l))
            r = save(l, e);
        if (r == 0 && l->s.step < l->s.total_steps && l->j->stop()) {
            l->r->outcome = TRAIN_STOPPED;
            r = 1;
        }
    }
    return r;
}

/* ---- ends ---- */

static int write_result(void *arg, const char *dir, struct err *e)
{
    const struct train_job *j = arg;
    return j->subject.save(j->subject.arg, dir, j->provenance, e);
}

static int finish(struct loop *l, struct err *e)
{
    struct train_job *j = l->j;
    if (run_folder_last(j->folder) < l->s.step && save(l, e) < 0)
        return -1;
    if (run_folder_finish(j->folder, write_result, j, j->subject.last_file, e) < 0 || log_end(l, 0, e) < 0)
        return -1;
    return run_folder_record(j->folder, "complete", j->run, l->s.step, l->s.total_steps, e);
}

/* Whatever was done since the last checkpoint is kept. */
static int stop(struct loop *l, struct err *e)
{
    if (l->s.step > 0 && run_folder_last(l->j->folder) < l->s.step && save(l, e) < 0)
        return -1;
    if (log_end(l, 75, e) < 0)
        return -1;
    return run_folder_record(l->j->folder, "stopped", l->j->run, l->s.step, l->s.total_steps, e);
}

static int give_up(struct loop *l, struct err *e)
{
    int64_t last = l->r->kept = run_folder_last(l->j->folder);
    if (log_end(l, 3, e) < 0)
        return -1;
    return run_folder_record(l->j->folder, "diverged", l->j->run, last > 0 ? last : 0, l->s.total_steps, e);
}

/* Says what an earlier log lacks of the run until here. What a kill left unfinished lies behind the checkpoint and is no loss. */
static void check_kept(const struct loop *l, const struct runlog_kept *k)
{
    const char *path = l->j->log_path;
    int64_t logged = l->s.step - l->s.log_steps;
    char *text = NULL;
    if (k->step < logged)
        text = mem_printf("%s: the lines of steps %" PRId64 " to %" PRId64 " are missing", path, k->step + 1, logged);
    else if (k->damaged)
        text = mem_printf("%s: %" PRId64 " damaged line%s left out, the first is line %" PRId64, path, k->damaged, k->damaged > 1 ? "s" : "",
                          k->first_damaged);
    else if (k->tokens != l->s.tokens - l->s.log_tokens)
        text = mem_printf("%s: lines of steps before %" PRId64 " are missing or were changed", path, logged);
    else if (!k->start)
        text = mem_printf("%s: the line of the start is missing", path);
    if (text)
        l->j->warn(text);
    free(text);
}

static int open_log(struct loop *l, bool fresh, struct err *e)
{
    const struct runlog_resumed r = {fresh ? -1 : l->s.step, l->s.eval_pending && l->j->eval, l->j->log_default};
    struct runlog_kept kept;
    l->log = runlog_open(l->j->log_path, &r, &kept, e);
    if (!l->log)
        return -1;
    if (!fresh && kept.file)
        check_kept(l, &kept);
    return fresh || (kept.file && !kept.start) ? log_start(l, e) : 0;
}

static int begin(struct loop *l, struct err *e)
{
    struct train_job *j = l->j;
    l->s.total_steps = j->schedule.total;
    if (j->subject.start(j->subject.arg, j->seed, e) < 0)
        return -1;
    if (j->optimizer->keeps_reference)
        optimizer_begin_reference(j->optimizer, j->model->k);
    if (resume(l, e) < 0)
        return -1;
    free(l->s.tool);
    free(l->s.run);
    l->s.tool = mem_strdup(j->tool);
    l->s.run = mem_strdup(j->run);
    l->r->step = l->r->first_step = l->s.step;
    bool fresh = run_folder_last(j->folder) < 0;
    if (run_folder_record(j->folder, "running", j->run, l->s.step, l->s.total_steps, e) < 0)
        return -1;
    int r = open_log(l, fresh, e);
    if (r < 0 && fresh)
        run_folder_forget(j->folder);
    return r;
}

int train_run(struct train_job *j, struct train_result *r, struct err *e)
{
    struct loop l = {.j = j, .r = r};
    *r = (struct train_result){.loss = NAN, .eval_loss = NAN};
    clock_gettime(CLOCK_MONOTONIC, &l.began);
    l.saved = l.logged = l.began;
    pack_init(&l.pack, j->plan->rows, j->plan->room);
    decoder_set_stop(j->plan->decoder, j->stop);
    int code = begin(&l, e);
    if (code == 0) {
        j->begun(j->begun_arg, l.s.step, l.s.total_steps);
        code = all_steps(&l, e);
    }
    if (code == 0)
        code = finish(&l, e);
    else if (code == 1)
        code = r->outcome == TRAIN_STOPPED ? stop(&l, e) : give_up(&l, e);
    r->step = l.s.step;
    struct err second = ERR_INIT; /* a log that cannot be closed must not hide the first error */
    if (runlog_close(l.log, code < 0 ? &second : e) < 0)
        code = -1;
    pack_release(&l.pack);
    checkpoint_state_release(&l.s);
    return code < 0 ? -1 : 0;
}
