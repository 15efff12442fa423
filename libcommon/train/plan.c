#include "train/plan.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "format/model_folder.h"
#include "train/plan_products.h"

#define ROWS_MAX 2048
#define ROWS_MIN 512
#define ACTIVATIONS ((size_t)1 << 30)
#define PROGRAM ((int64_t)19 << 20) /* the program, its libraries, stacks */

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void lay_out(struct plan *p, struct optimizer *o)
{
    if (o)
        optimizer_layout(o, &p->arena);
    decoder_layout(p->decoder, &p->arena);
}

/* The arena for these choices; the decoder is made anew. */
static void try_plan(struct plan *p, struct model *m, struct optimizer *o, int64_t rows, enum decoder_keep keep)
{
    decoder_free(p->decoder);
    p->rows = rows;
    p->room = most(rows, p->longest);
    p->recompute = keep == DECODER_RECOMPUTE;
    p->decoder = decoder_new(m, p->room, (int)p->room, o != NULL, keep);
    arena_init(&p->arena);
    lay_out(p, o);
    p->host = (int64_t)decoder_host_bytes(p->decoder);
    p->work = plan_product_bytes(m, p->room, decoder_score_rows(p->decoder), o != NULL);
    p->buffers = p->fixed + p->work + (int64_t)m->k->scratch_bytes(m->config.heads, m->config.kv_heads, m->config.head_dim, p->room);
    p->peak = (int64_t)p->arena.used + p->weights + p->buffers + p->held;
}

/* Without recomputation, the rows that keep activations below a fixed bound. */
static void choose_rows(struct plan *p, struct model *m, struct optimizer *o, int64_t useful, enum decoder_keep keep)
{
    size_t fixed = 0;
    if (o) {
        struct arena a;
        arena_init(&a);
        optimizer_layout(o, &a);
        fixed = a.used;
    }
    for (int64_t rows = ROWS_MAX;; rows /= 2) {
        try_plan(p, m, o, most(useful && useful < rows ? useful : rows, p->longest), keep);
        if (rows <= ROWS_MIN || p->arena.used - fixed <= ACTIVATIONS || p->rows >= rows * 2)
            return;
    }
}

static uint32_t sample_length(const struct token_file *t, int64_t i)
{
    struct token_sample s = token_file_sample(t, i);
    return token_sample_length(&s, t->kind);
}

static int check_length(const struct model *m, const struct token_file *t, struct err *e)
{
    int64_t context = model_config_context(&m->config);
    if (!t || t->longest <= context)
        return 0;
    for (int64_t i = 0; i < t->n_samples; i++)
        if (sample_length(t, i) > context)
            return err_set(e, "%s: sample %" PRId64 ": holds %u tokens, the model has %" PRId64 " positions; tok-encode --max-length shortens or splits",
                           t->path, i + 1, sample_length(t, i), context);
    return 0;
}

static int64_t held_bytes(const struct kernels *k)
{
    return k->held_bytes ? k->held_bytes() : 0;
}

int plan_make(struct plan *p, struct model *m, struct optimizer *o, const struct plan_wish *w, const struct token_file *train,
              const struct token_file *eval, struct err *e)
{
    *p = (struct plan){.model = m};
    if (w->offload && !m->k->transfer)
        return err_set(e, "--offload activations: device '%s' works in the host's memory, so there is nowhere to put them", m->k->name);
    if (check_length(m, train, e) < 0 || check_length(m, eval, e) < 0)
        return -1;
    int64_t eval_longest = w->eval_longest ? w->eval_longest : eval ? eval->longest : 0;
    p->longest = w->longest ? w->longest : train->longest;
    if (m->k->host_memory) {
        p->weights = m->folder ? m->folder->bytes : 0;
        p->fixed = PROGRAM + train->n_samples * (int64_t)sizeof(uint32_t);
    } else {
        p->weights = (int64_t)model_placed_bytes(m);
        p->held = held_bytes(m->k);
    }
    enum decoder_keep keep = w->offload ? DECODER_OFFLOAD : !strcmp(w->recompute, "layer") ? DECODER_RECOMPUTE : DECODER_KEEP;
    if (w->rows)
        try_plan(p, m, o, w->rows, keep);
    else
        choose_rows(p, m, o, w->useful, keep);
    if (eval_longest > p->room) {
        p->longest = eval_longest;
        try_plan(p, m, o, p->rows, keep);
    }
    if (p->peak > w->memory && !strcmp(w->recompute, "auto") && o && !w->offload)
        try_plan(p, m, o, p->rows, DECODER_RECOMPUTE);
    return 0;
}

int64_t plan_memory(const struct kernels *k, int64_t asked)
{
    return asked ? asked : k->free_memory ? k->free_memory() + held_bytes(k) : mem_available();
}

int plan_commit(struct plan *p, struct optimizer *o, struct err *e)
{
    const struct kernels *k = p->model->k;
    if (model_place_weights(p->model, e) < 0 || arena_commit(&p->arena, k->alloc, k->free, e) < 0)
        return -1;
    lay_out(p, o);
    return p->host ? decoder_take_host(p->decoder, e) : 0;
}

void plan_release(struct plan *p)
{
    decoder_free(p->decoder);
    arena_release(&p->arena);
    p->decoder = NULL;
}
