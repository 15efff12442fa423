#include "train/preference_step.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Of an answer's reward, and of the loss of pairs, at the first step. Where a row's bits depend on the shape of the call (kernels/cuda/matmul.cu) the packs of
 * both passes round otherwise. */
#define START_LIMIT 1e-5
#define START_LIMIT_OF_SHAPES 1e-2

/* Sums over the rows of a sample's answers. */
struct row_stats {
    double mean[2], entropy;
};

/* The samples of one step, or of an evaluation. */
struct step_work {
    size_t cap;
    int64_t n;
    const struct token_file *data;
    const uint32_t *items;             /* NULL: 0, 1, 2 ... */
    struct preference_sample *samples; /* (n) */
    struct preference_gradient *gradients;
    struct row_stats *stats;
    struct preference_totals totals;
    int64_t first;                     /* of the pack in hand */
    bool known;                        /* gradients are those of the whole step: the pack's need not be found */
};

/* ---- samples ---- */

static int64_t item(const struct step_work *w, int64_t i)
{
    return w->items ? w->items[i] : i;
}

static uint32_t trained_of(const uint8_t *mask, int64_t n)
{
    uint32_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += mask[i];
    return count;
}

static void set_reference(struct preference_answer *y, const struct ref_logprobs *ref, int64_t sample, int which, uint32_t shared)
{
    struct ref_answer r = ref_logprobs_answer(ref, sample, which);
    ref_answer_sum(&r, shared, &y->reference_shared, &y->reference_rest);
}

/* Trained tokens that are summed first: all that both answers of a pair have. */
static uint32_t shared_of(const struct preference_step *o, const struct preference_sample *s)
{
    uint32_t a = s->answer[0].count, b = s->answer[1].count;
    return o->needs.labelled ? UINT32_MAX : a < b ? a : b;
}

/* What is known before anything is computed: counts and the reference. */
static void begin_sample(const struct preference_step *o, const struct step_work *w, int64_t i, const struct ref_logprobs *ref)
{
    struct token_sample t = token_file_sample(w->data, item(w, i));
    struct preference_sample *s = &w->samples[i];
    *s = (struct preference_sample){.prompt_count = t.prompt - 1, .label = t.label};
    s->answer[0].count = trained_of(t.mask + t.prompt, t.chosen);
    if (!o->needs.labelled)
        s->answer[1].count = trained_of(t.mask + t.prompt + t.chosen, (int64_t)t.n - t.prompt - t.chosen);
    if (o->needs.mismatched) {
        int64_t before = item(w, i) ? item(w, i) - 1 : w->data->n_samples - 1;
        struct token_sample other = token_file_sample(w->data, before);
        s->answer[1].count = trained_of(other.mask + other.prompt, other.chosen);
    }
    for (int k = 0; k < 2 && ref; k++)
        if (s->answer[k].count)
            set_reference(&s->answer[k], ref, item(w, i), k, shared_of(o, s));
}

static struct step_work *begin_work(struct preference_step *o, const struct token_file *data, const uint32_t *items, int64_t n,
                                    const struct ref_logprobs *ref)
{
    struct step_work *w = o->work;
    if ((size_t)n > w->cap) {
        w->cap = (size_t)n;
        w->samples = mem_array(w->samples, w->cap, sizeof *w->samples);
        w->gradients = mem_array(w->gradients, w->cap, sizeof *w->gradients);
        w->stats = mem_array(w->stats, w->cap, sizeof *w->stats);
    }
    w->n = n, w->data = data, w->items = items, w->known = false;
    for (int64_t i = 0; i < n; i++) {
        begin_sample(o, w, i, ref);
        w->stats[i] = (struct row_stats){{0, 0}, 0};
    }
    w->totals = preference_totals(o->p, w->samples, (size_t)n);
    return w;
}

/* Answer `which` of sample i from its rows. */
static void sum_answer(const struct preference_step *o, struct step_work *w, int64_t i, int which, int64_t row, int64_t n, const int32_t *targets)
{
    struct preference_sample *s = &w->samples[i];
    struct preference_answer *y = &s->answer[which];
    uint32_t shared = shared_of(o, s), seen = 0;
    y->shared = y->rest = y->agreement = 0;
    for (int64_t r = row; r < row + n; r++) {
        if (targets[r] < 0)
            continue;
        double logp = -(double)o->rows.loss[r];
        *(seen++ < shared ? &y->shared : &y->rest) += logp;
        if (o->needs.agreement)
            y->agreement += (logp - log((double)o->rows.squares[r])) / y->count;
        w->stats[i].mean[which] += (double)o->rows.mean[r];
        w->stats[i].entropy += (double)o->rows.entropy[r];
    }
}

/* All answers of the pack in hand; false: a sum is no finite number. */
static bool sum_pack(const struct preference_step *o, struct step_work *w, enum preference_what what, const struct batch *b)
{
    bool finite = true;
    for (int s = 0; s < b->n_seq; s++) {
        int64_t i = w->first + s, row = b->start[s];
        struct preference_sample *x = &w->samples[i];
        struct preference_rows r = preference_rows_of(w->data, item(w, i), what, o->context);
        w->stats[i] = what == PREFERENCE_MISMATCHED ? w->stats[i] : (struct row_stats){{0, 0}, 0};
        x->prompt = 0;
        for (int64_t k = 0; k < r.prompt && what == PREFERENCE_ANSWERS_PROMPT; k++)
            x->prompt -= (double)o->rows.loss[row + k];
        for (int k = 0; k < r.answers; k++) {
            int which = what == PREFERENCE_MISMATCHED ? 1 : k;
            sum_answer(o, w, i, which, row + r.at[k], r.length[k], b->targets);
            finite &= isfinite(x->answer[which].shared + x->answer[which].rest);
        }
        finite &= isfinite(x->prompt);
    }
    return finite;
}

/* ---- gradients ---- */

static int name_sample(const struct step_work *w, struct err *e)
{
    return err_prefix(e, "%s", w->data->path);
}

/* Weights of one answer's rows: the derivative by a loss is minus that by a log-probability. */
static void weigh_answer(const struct preference_step *o, const struct step_work *w, int64_t i, int which, int64_t row, int64_t n,
                         const int32_t *targets, float *weight)
{
    const struct preference_gradient *g = &w->gradients[i];
    uint32_t shared = shared_of(o, &w->samples[i]), seen = 0;
    for (int64_t r = row; r < row + n; r++)
        if (targets[r] >= 0)
            weight[r] = (float)-(seen++ < shared ? g->shared[which] : g->rest[which]);
}

static int weigh(void *arg, const struct batch *b, const struct decoder_rows *rows, float *weight, struct err *e)
{
    struct preference_step *o = arg;
    struct step_work *w = o->work;
    struct preference_result r;
    enum preference_what what = o->needs.prompt ? PREFERENCE_ANSWERS_PROMPT : PREFERENCE_ANSWERS;
    (void)rows;
    if (!sum_pack(o, w, what, b))
        return OBJECTIVE_NOT_FINITE;
    if (!w->known && preference_evaluate(o->p, &w->totals, &o->state, true, w->samples + w->first, (size_t)b->n_seq, w->gradients + w->first, &r, e) < 0)
        return name_sample(w, e);
    for (int s = 0; s < b->n_seq; s++) {
        int64_t i = w->first + s, row = b->start[s];
        struct preference_rows at = preference_rows_of(w->data, item(w, i), what, o->context);
        for (int64_t k = 0; k < at.prompt && o->needs.prompt; k++)
            weight[row + k] = (float)-w->gradients[i].prompt;
        for (int k = 0; k < at.answers; k++)
            weigh_answer(o, w, i, k, row + at.at[k], at.length[k], b->targets, weight);
    }
    return 0;
}

/* ---- passes ---- */

enum pass { PASS_FORWARD, PASS_BACK, PASS_MEASURE };

/* What a pass goes through. */
struct through {
    struct decoder *decoder;
    struct pack *pack;
    uint64_t seed;
    int64_t number;
};

static int one_pack(struct preference_step *o, const struct through *t, enum preference_what what, enum pass pass, struct decoder_result *r, struct err *e)
{
    int code;
    if (pass == PASS_MEASURE)
        code = decoder_measure(t->decoder, &t->pack->batch, &o->rows, r, e);
    else
        code = decoder_weighed(t->decoder, &t->pack->batch, &o->rows, pass == PASS_BACK ? weigh : NULL, o, t->seed, t->number, r, e);
    if (code)
        return code;
    if (r->stopped)
        return OBJECTIVE_STOPPED;
    return pass == PASS_BACK || sum_pack(o, o->work, what, &t->pack->batch) ? OBJECTIVE_DONE : OBJECTIVE_NOT_FINITE;
}

/* Over all samples, pack by pack. */
static int pass_over(struct preference_step *o, const struct through *t, enum preference_what what, enum pass pass, struct err *e)
{
    struct step_work *w = o->work;
    int64_t row = 0;
    for (w->first = 0; w->first < w->n;) {
        struct decoder_result r;
        const uint32_t *items = w->items ? w->items + w->first : NULL;
        int64_t used = preference_pack_fill(t->pack, w->data, what, o->context, items, w->first, w->n - w->first, row);
        int code = one_pack(o, t, what, pass, &r, e);
        if (code)
            return code;
        row += t->pack->batch.n;
        w->first += used;
    }
    return OBJECTIVE_DONE;
}

static bool is_one_pack(const struct preference_step *o, const struct pack *p, enum preference_what what)
{
    const struct step_work *w = o->work;
    int64_t rows = 0;
    for (int64_t i = 0; i < w->n && rows <= p->max_rows; i++)
        rows += preference_rows_of(w->data, item(w, i), what, o->context).rows;
    return w->n == 1 || rows <= p->max_rows;
}

/* The reference's sums by its own values, once it has moved. */
static int measure_reference(struct preference_step *o, const struct through *t, enum preference_what what, struct err *e)
{
    struct step_work *w = o->work;
    if (!o->sync_every || o->done < o->sync_every)
        return OBJECTIVE_DONE;
    optimizer_swap_reference(o->optimizer, o->k);
    int code = o->needs.mismatched ? pass_over(o, t, PREFERENCE_MISMATCHED, PASS_MEASURE, e) : 0;
    if (code == 0)
        code = pass_over(o, t, what, PASS_MEASURE, e);
    optimizer_swap_reference(o->optimizer, o->k);
    for (int64_t i = 0; i < w->n; i++)
        for (int k = 0; k < 2; k++) {
            struct preference_answer *y = &w->samples[i].answer[k];
            y->reference_shared = y->shared;
            y->reference_rest = y->rest;
        }
    return code;
}

/* ---- what is told ---- */

static void describe(const struct preference_step *o, const struct preference_result *r, double *told)
{
    const struct step_work *w = o->work;
    double mean[2] = {0, 0}, entropy = 0, count[2] = {0, 0};
    memcpy(told, r->metrics, sizeof r->metrics);
    for (int64_t i = 0; i < w->n; i++)
        for (int k = 0; k < (o->needs.labelled ? 1 : 2); k++) {
            int to = o->needs.labelled ? !w->samples[i].label : k;
            mean[to] += w->stats[i].mean[k];
            count[to] += w->samples[i].answer[k].count;
            entropy += k ? 0 : w->stats[i].entropy;
        }
    for (int k = 0; k < 2; k++)
        told[TELL_LOGITS_CHOSEN + k] = count[k] > 0 ? mean[k] / count[k] : NAN;
    told[TELL_ENTROPY] = entropy / (count[0] + count[1]);
    for (int k = 0; k < PREFERENCE_LOSSES; k++)
        told[TELL_TERMS + k] = k < o->p->n_terms && o->p->n_terms > 1 ? r->terms[k] : NAN;
}

static void tally(struct preference_tally *t, const double *told)
{
    for (int k = 0; k < TELL_ALL; k++)
        if (!isnan(told[k])) {
            t->sum[k] += told[k];
            t->count[k]++;
        }
}

static void tell(const struct preference_step *o, const struct preference_tally *t, const char *prefix, json_t *line)
{
    static const char *const names[] = {"logits/chosen", "logits/rejected", "entropy"};
    for (int k = 0; k < TELL_ALL; k++) {
        const char *name = k < PREFERENCE_METRICS ? preference_metric_name((enum preference_metric)k)
                           : k < TELL_TERMS       ? names[k - TELL_LOGITS_CHOSEN]
                                                  : preference_loss_name(o->p->terms[k - TELL_TERMS].loss);
        if (!t->count[k])
            continue;
        char *key = mem_printf("%s%s%s", prefix, k < TELL_TERMS ? "" : "loss/", name);
        json_object_set_new(line, key, json_real(t->sum[k] / (double)t->count[k]));
        free(key);
    }
}

/* ---- the objective ---- */

/* The reference is the model as it starts: no answer is more or less probable than it was. */
static int check_start(const struct preference_step *o, double loss, struct err *e)
{
    static const char *const of_pairs[] = {"chosen answer", "rejected answer"}, *const of_labels[] = {"answer", "mismatched answer"};
    const struct step_work *w = o->work;
    double limit = o->k->host_memory ? START_LIMIT : START_LIMIT_OF_SHAPES;
    int answers = o->needs.labelled && !o->needs.mismatched ? 1 : 2;
    for (int64_t i = 0; i < w->n; i++)
        for (int k = 0; k < answers; k++) {
            const struct preference_answer *y = &w->samples[i].answer[k];
            double own = y->shared + y->rest, other = y->reference_shared + y->reference_rest;
            if (!(fabs(o->p->o.beta * (own - other)) <= limit))
                return err_set(e, "%s: record %" PRId64 ": before the first step the model's log-probability of the %s is %.9g, that of the reference, "
                               "which is the same model, %.9g: the reference was computed otherwise; leave --ref-logprobs out, or make it again here with --write-ref",
                               w->data->path, item(w, i) + 1, (o->needs.labelled ? of_labels : of_pairs)[k], own, other);
        }
    if (o->p->n_terms == 1 && o->p->terms[0].loss == PREFERENCE_SIGMOID && !o->p->o.wpo && !(fabs(loss - M_LN2 * o->p->terms[0].weight) <= limit * o->p->terms[0].weight))
        return err_set(e, "%s: before the first step the loss is %.9g, expected ln 2: the reference is not the model as it starts", w->data->path, loss);
    return 0;
}

static int gradients(void *arg, const struct objective_step *s, double *loss, struct err *e)
{
    struct preference_step *o = arg;
    const struct through t = {s->decoder, s->pack, s->seed, s->number};
    enum preference_what what = o->needs.prompt ? PREFERENCE_ANSWERS_PROMPT : PREFERENCE_ANSWERS;
    struct step_work *w = begin_work(o, s->data, s->batch->items, s->batch->n, o->ref);
    struct preference_result r;
    int code = measure_reference(o, &t, what, e);
    o->number = s->number;
    if (code == 0 && o->needs.mismatched)
        code = pass_over(o, &t, PREFERENCE_MISMATCHED, PASS_MEASURE, e);
    if (code == 0 && o->needs.step && !is_one_pack(o, s->pack, what)) {
        code = pass_over(o, &t, what, PASS_FORWARD, e);
        if (code == 0 && preference_evaluate(o->p, &w->totals, &o->state, true, w->samples, (size_t)w->n, w->gradients, &r, e) < 0)
            code = name_sample(w, e);
        w->known = true;
    }
    if (code == 0)
        code = pass_over(o, &t, what, PASS_BACK, e);
    if (code)
        return code;
    decoder_end_step(s->decoder);
    if (preference_evaluate(o->p, &w->totals, &o->state, true, w->samples, (size_t)w->n, NULL, &r, e) < 0)
        return name_sample(w, e);
    if (o->check_start && s->number == 1 && check_start(o, r.loss, e) < 0)
        return -1;
    *loss = r.loss;
    o->next = r.state;
    describe(o, &r, o->step);
    return isfinite(r.loss) ? OBJECTIVE_DONE : OBJECTIVE_NOT_FINITE;
}

static void made(void *arg)
{
    struct preference_step *o = arg;
    o->state = o->next;
    o->done = o->number;
    if (o->sync_every && o->done % o->sync_every == 0)
        optimizer_mix_reference(o->optimizer, o->k, o->sync_mix);
    tally(&o->log, o->step);
}

static int measure(void *arg, struct decoder *d, struct pack *p, const struct token_file *t, struct evaluation *v, struct err *e)
{
    struct preference_step *o = arg;
    const struct through through = {d, p, 0, 0};
    struct step_work *w = begin_work(o, t, NULL, t->n_samples, o->eval_ref);
    struct preference_result r;
    double told[TELL_ALL];
    enum preference_what what = o->needs.prompt ? PREFERENCE_ANSWERS_PROMPT : PREFERENCE_ANSWERS;
    int code = measure_reference(o, &through, what, e);
    if (code == 0 && o->needs.mismatched)
        code = pass_over(o, &through, PREFERENCE_MISMATCHED, PASS_MEASURE, e);
    if (code == 0)
        code = pass_over(o, &through, what, PASS_MEASURE, e);
    if (code)
        return code;
    if (preference_evaluate(o->p, &w->totals, &o->state, false, w->samples, (size_t)w->n, NULL, &r, e) < 0)
        return name_sample(w, e);
    *v = (struct evaluation){r.loss, t->n_trained};
    describe(o, &r, told);
    o->eval = (struct preference_tally){{0}, {0}};
    tally(&o->eval, told);
    return isfinite(r.loss) ? OBJECTIVE_DONE : OBJECTIVE_NOT_FINITE;
}

static void tell_steps(void *arg, json_t *line)
{
    struct preference_step *o = arg;
    tell(o, &o->log, "", line);
    o->log = (struct preference_tally){{0}, {0}};
}

static void tell_eval(void *arg, json_t *line)
{
    struct preference_step *o = arg;
    tell(o, &o->eval, "eval_", line);
}

static void note(void *arg, char *text, size_t size)
{
    const struct preference_step *o = arg;
    double margin = o->step[PREFERENCE_REWARDS_MARGINS];
    text[0] = 0;
    if (!isnan(margin))
        snprintf(text, size, ", margin %.3g", margin);
}

static json_t *state(void *arg)
{
    const struct preference_step *o = arg;
    json_t *sums = json_array(), *counts = json_array();
    for (int k = 0; k < TELL_ALL; k++) {
        json_array_append_new(sums, json_real(o->log.sum[k]));
        json_array_append_new(counts, json_integer(o->log.count[k]));
    }
    return json_pack("{s:I,s:f,s:f,s:o,s:o}", "steps", (json_int_t)o->done, "mean", o->state.mean, "count", o->state.count, "log_sums", sums, "log_counts", counts);
}

static int restore(void *arg, const json_t *j, struct err *e)
{
    struct preference_step *o = arg;
    json_t *sums, *counts;
    json_int_t steps;
    if (json_unpack((json_t *)j, "{s:I,s:F,s:F,s:o,s:o}", "steps", &steps, "mean", &o->state.mean, "count", &o->state.count, "log_sums", &sums, "log_counts", &counts) < 0 ||
        json_array_size(sums) != TELL_ALL || json_array_size(counts) != TELL_ALL)
        return err_set(e, "holds no state of a preference loss");
    o->done = steps;
    for (int k = 0; k < TELL_ALL; k++) {
        o->log.sum[k] = json_number_value(json_array_get(sums, (size_t)k));
        o->log.count[k] = json_integer_value(json_array_get(counts, (size_t)k));
    }
    return 0;
}

void preference_step_init(struct preference_step *o, const struct preference *p, int64_t context, int64_t room)
{
    *o = (struct preference_step){.p = p, .needs = preference_needs(p), .context = context};
    float **rows[] = {&o->rows.loss, &o->rows.mean, &o->rows.entropy, &o->rows.squares};
    for (int k = 0; k < (o->needs.agreement ? 4 : 3); k++)
        *rows[k] = mem_array(NULL, (size_t)room, sizeof **rows[k]);
    o->work = mem_zalloc(1, sizeof *o->work);
    for (int k = 0; k < TELL_ALL; k++)
        o->step[k] = NAN;
}

void preference_step_release(struct preference_step *o)
{
    free(o->rows.loss), free(o->rows.mean), free(o->rows.entropy), free(o->rows.squares);
    if (o->work)
        free(o->work->samples), free(o->work->gradients), free(o->work->stats);
    free(o->work);
    *o = (struct preference_step){0};
}

struct train_objective preference_objective(struct preference_step *o)
{
    return (struct train_objective){.arg = o, .gradients = gradients, .evaluate = measure, .made = made, .tell = tell_steps, .tell_eval = tell_eval,
                                    .note = note, .state = state, .restore = restore};
}
