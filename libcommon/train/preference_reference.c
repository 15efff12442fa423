#include "train/preference_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "model/lora.h"
#include "train/checks.h"
#include "train/device.h"
#include "train/plan_text.h"
#include "train/preference_cost.h"
#include "train/preference_pack.h"

/* The model and its activations, and the values of the samples in hand. */
struct reader {
    const struct preference_source *s;
    const struct token_file *t;
    struct model *m;
    struct plan plan;
    bool planned;
    struct pack pack;
    float *loss;                 /* (room) of the rows of a pack */
    float *logp[2];              /* (group tokens) of the trained tokens of both answers of the samples in hand, one after another */
    uint32_t *count[2];          /* (group) */
};

static struct model *open_model(const struct preference_source *s, struct err *e)
{
    const struct kernels *k = device_open(e);
    struct model *m = k ? model_open(s->model, k, e) : NULL;
    if (!m)
        return NULL;
    model_set_dtype(m, s->dtype);
    if (!s->adapter || model_add_adapter(m, s->adapter, 1, e) == 0)
        return m;
    model_close(m);
    return NULL;
}

static int describe(const struct preference_source *s, const struct model *m, const struct token_file *t, struct ref_provenance *p, struct err *e)
{
    *p = (struct ref_provenance){.arithmetic = "f32"};
    memcpy(p->model, m->folder->fingerprint, sizeof p->model);
    memcpy(p->data, t->hash, sizeof p->data);
    if (m->bf16)
        memcpy(p->arithmetic, "bf16", sizeof "bf16");
    if (!s->adapter)
        return 0;
    struct adapter *a = adapter_open(s->adapter, e);
    if (!a)
        return -1;
    adapter_hash(a, p->adapter);
    adapter_close(a);
    return 0;
}

struct ref_logprobs *preference_reference_open(const char *path, const struct ref_provenance *want, const struct token_file *t, bool mismatched, struct err *e)
{
    struct ref_logprobs *r = ref_logprobs_open(path, e);
    if (r && ref_logprobs_expect(r, want, t, mismatched, e) == 0)
        return r;
    ref_logprobs_close(r);
    return NULL;
}

/* The advice for a model that is trained would not help. */
static int check_data(const struct reader *r, struct err *e)
{
    struct err own = ERR_INIT;
    if (!r->s->other)
        return check_tokens(r->m, r->s->model, r->t, e);
    if (check_tokens(r->m, r->s->model, r->t, &own) < 0)
        return err_set(e, "--ref-model %s: its tokenizer is another than the one %s was made with", r->s->model, r->t->path);
    return 0;
}

static int make_plan(struct reader *r, struct err *e)
{
    const struct preference_source *s = r->s;
    const struct plan_wish w = {.rows = s->rows, .useful = 0, .recompute = "none", .memory = INT64_MAX,
                                .longest = preference_longest(r->t, s->mismatched, model_config_context(&r->m->config))};
    if (plan_make(&r->plan, r->m, NULL, &w, r->t, NULL, e) < 0)
        return s->other ? err_prefix(e, "--ref-model %s", s->model) : -1;
    r->planned = true;
    return 0;
}

static int check_memory(const struct reader *r, struct err *e)
{
    const struct preference_source *s = r->s;
    const int64_t memory = plan_memory(r->m->k, s->memory);
    char need[32], have[32];
    if (memory >= 0 && r->plan.peak > memory) {
        progress_format_bytes(need, sizeof need, (double)r->plan.peak);
        progress_format_bytes(have, sizeof have, (double)memory);
        return err_set(e, "%s: the reference needs %s of memory, %s may be used; fewer --rows need less", s->model, need, have);
    }
    return 0;
}

static int open_reader(struct reader *r, struct err *e)
{
    if (!(r->m = open_model(r->s, e)) || check_data(r, e) < 0 || check_weights(r->m, e) < 0 || make_plan(r, e) < 0 ||
        check_memory(r, e) < 0 || plan_commit(&r->plan, NULL, e) < 0)
        return -1;
    size_t room = (size_t)r->plan.room;
    pack_init(&r->pack, r->plan.rows, r->plan.room);
    r->loss = mem_array(NULL, room, sizeof *r->loss);
    for (int k = 0; k < 2; k++) {
        r->logp[k] = mem_array(NULL, room, sizeof *r->logp[k]);
        r->count[k] = mem_array(NULL, room, sizeof *r->count[k]);
    }
    decoder_set_stop(r->plan.decoder, r->s->stop);
    return 0;
}

static void close_reader(struct reader *r)
{
    for (int k = 0; k < 2; k++) {
        free(r->logp[k]);
        free(r->count[k]);
    }
    free(r->loss);
    pack_release(&r->pack);
    if (r->planned)
        plan_release(&r->plan);
    model_close(r->m);
}

static void keep(const struct reader *r, float *to, int64_t row, int64_t n, uint32_t *count)
{
    *count = 0;
    for (int64_t i = row; i < row + n; i++)
        if (r->pack.targets[i] >= 0)
            to[(*count)++] = -r->loss[i];
}

/* 1: stopped. The samples first .. first + *used - 1 as one pack. */
static int one_pack(struct reader *r, enum preference_what what, int64_t first, int64_t n, int64_t *used, struct err *e)
{
    const struct decoder_rows rows = {.loss = r->loss};
    struct decoder_result result;
    *used = preference_pack_fill(&r->pack, r->t, what, model_config_context(&r->m->config), NULL, first, n, 0);
    if (decoder_measure(r->plan.decoder, &r->pack.batch, &rows, &result, e) < 0)
        return -1;
    return result.stopped;
}

/* Values of answer `which` of the pack's samples, from sample `done` of the group on, behind the `at` values that are there. */
static int64_t keep_pack(struct reader *r, enum preference_what what, int64_t first, int64_t used, int64_t done, int64_t at[2])
{
    for (int64_t s = 0; s < used; s++) {
        struct preference_rows x = preference_rows_of(r->t, first + s, what, model_config_context(&r->m->config));
        for (int k = 0; k < x.answers; k++) {
            int which = what == PREFERENCE_MISMATCHED ? 1 : k;
            uint32_t *count = &r->count[which][done + s];
            keep(r, r->logp[which] + at[which], r->pack.start[s] + x.at[k], x.length[k], count);
            at[which] += *count;
        }
    }
    return done + used;
}

/* 2: of the samples from `first` on, the one that has a value that is no finite number. */
static int name_bad(const struct reader *r, int64_t first, struct err *e)
{
    int64_t at[2] = {0, 0};
    for (int64_t i = 0;; i++)
        for (int k = 0; k < 2; k++)
            for (uint32_t j = 0; j < r->count[k][i]; j++)
                if (!isfinite(r->logp[k][at[k]++])) {
                    err_set(e, "%s: record %lld: a log-probability that %s gives is no finite number", r->t->path, (long long)(first + i + 1), r->s->model);
                    return 2;
                }
}

/* The samples of one pack, and their mismatched answers in packs of their own; 1: stopped, 2: a value is no finite number. The values of those may be more than a pack has rows. */
static int group(struct reader *r, struct ref_writer *w, int64_t first, int64_t *used, struct err *e)
{
    int64_t at[2] = {0, 0}, more, values = 0;
    int code = one_pack(r, PREFERENCE_ANSWERS, first, r->t->n_samples - first, used, e);
    if (code)
        return code;
    memset(r->count[1], 0, (size_t)*used * sizeof *r->count[1]);
    keep_pack(r, PREFERENCE_ANSWERS, first, *used, 0, at);
    for (int64_t i = 0; r->s->mismatched && i < *used; i++)
        values += preference_rows_of(r->t, first + i, PREFERENCE_MISMATCHED, model_config_context(&r->m->config)).length[0];
    if (values > r->plan.room)
        r->logp[1] = mem_array(r->logp[1], (size_t)values, sizeof *r->logp[1]);
    for (int64_t done = 0; r->s->mismatched && done < *used; done = keep_pack(r, PREFERENCE_MISMATCHED, first + done, more, done, at)) {
        code = one_pack(r, PREFERENCE_MISMATCHED, first + done, *used - done, &more, e);
        if (code)
            return code;
    }
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < at[k]; i++)
            if (!isfinite(r->logp[k][i]))
                return name_bad(r, first, e);
    at[0] = at[1] = 0;
    for (int64_t i = 0; i < *used; i++) {
        if (ref_writer_add(w, r->logp[0] + at[0], r->count[0][i], r->logp[1] + at[1], r->count[1][i], e) < 0)
            return -1;
        at[0] += r->count[0][i], at[1] += r->count[1][i];
    }
    return 0;
}

static int write_all(struct reader *r, FILE *out, const char *path, struct err *e)
{
    struct ref_provenance p;
    if (describe(r->s, r->m, r->t, &p, e) < 0)
        return -1;
    struct ref_writer *w = ref_writer_begin(out, path, r->t->kind, r->s->mismatched, &p, e);
    int code = w ? 0 : -1;
    if (r->s->begin)
        r->s->begin(r->t->n_samples);
    for (int64_t i = 0, used; code == 0 && i < r->t->n_samples; i += used) {
        code = group(r, w, i, &used, e);
        if (code == 0 && r->s->progress)
            r->s->progress(i + used);
    }
    if (code == 0)
        return ref_writer_end(w, e);
    ref_writer_free(w);
    return code;
}

int preference_reference_write(const struct preference_source *s, const struct token_file *t, const char *path, bool force, struct err *e)
{
    struct reader r = {.s = s, .t = t};
    struct outfile *f = outfile_open(path, force, true, e);
    int code = f ? open_reader(&r, e) : -1;
    if (code == 0)
        code = write_all(&r, outfile_stream(f), path, e);
    close_reader(&r);
    if (code == 0)
        return outfile_commit(f, e);
    outfile_abort(f);
    return code;
}

int preference_reference_look(const struct preference_source *s, const struct token_file *t, struct preference_look *to, struct err *e)
{
    struct reader r = {.s = s, .t = t};
    int code = (r.m = open_model(s, e)) ? describe(s, r.m, t, &to->want, e) : -1;
    if (code == 0 && s->other)
        code = check_data(&r, e) < 0 || make_plan(&r, e) < 0 ? -1 : check_memory(&r, e);
    if (code == 0) {
        struct preference_cost c = preference_cost_of(t, r.m, false, s->mismatched);
        to->flops = preference_cost_forward(&c, r.m);
        to->rows = c.rows + c.other_rows;
    }
    if (r.planned)
        plan_release(&r.plan);
    model_close(r.m);
    return code;
}

int preference_reference_plan(const struct preference_source *s, const struct token_file *t, const char *path, struct buf *b, struct err *e)
{
    struct reader r = {.s = s, .t = t};
    int code = (r.m = open_model(s, e)) && check_data(&r, e) == 0 ? make_plan(&r, e) : -1;
    if (code == 0) {
        struct preference_cost c = preference_cost_of(t, r.m, false, s->mismatched);
        const struct plan_pass pass = {path, preference_cost_file(t, s->mismatched), t->n_samples, c.rows + c.other_rows, preference_cost_forward(&c, r.m)};
        plan_text_pass(b, &r.plan, r.m, plan_memory(r.m->k, s->memory), &pass);
        code = check_memory(&r, e);
    }
    if (r.planned)
        plan_release(&r.plan);
    model_close(r.m);
    return code;
}
