#include "train/merge_check.h"

#include "model/lora.h"
#include "model/lora_grid.h"
#include "train/checks.h"
#include "train/plan.h"

struct side {
    struct model *model;
    struct plan plan;
    bool planned;
};

static int open_side(struct side *s, const struct kernels *k, const char *dir, const struct merge_options *adapters, const struct token_file *t, int64_t rows, struct err *e)
{
    const struct plan_wish wish = {.rows = rows, .recompute = "none", .memory = INT64_MAX};
    if (!(s->model = model_open(dir, k, e)))
        return -1;
    model_set_dtype(s->model, "f32");
    for (int i = 0; adapters && i < adapters->n_adapters; i++)
        if (model_add_adapter(s->model, adapters->adapters[i], adapters->weights[i], e) < 0)
            return -1;
    if (check_tokens(s->model, dir, t, e) < 0 || plan_make(&s->plan, s->model, NULL, &wish, t, NULL, e) < 0)
        return -1;
    s->planned = true;
    return 0;
}

static void close_side(struct side *s)
{
    if (s->planned)
        plan_release(&s->plan);
    if (s->model)
        model_close(s->model);
}

static int compare(struct side *merged, struct side *reference, const struct token_file *t, struct divergence *r, struct err *e)
{
    struct pack p;
    double sum = 0;
    int code = 0;
    pack_init(&p, merged->plan.rows, merged->plan.room);
    for (int64_t i = 0; i < t->n_samples && code == 0;) {
        i += pack_fill(&p, t, NULL, i, t->n_samples - i, 0);
        code = divergence_add(merged->plan.decoder, reference->plan.decoder, &p, merged->model->config.vocab, &sum, r, e);
    }
    pack_release(&p);
    return code;
}

/* The f32 copies of the adapters' pairs. */
static int pair_bytes(struct linear *l, void *arg)
{
    int64_t *bytes = arg;
    for (const struct lora *x = l->lora; x; x = x->next)
        *bytes += x->rank * (l->in + l->out) * (int64_t)sizeof(float);
    *bytes += lora_grid_bytes(l);
    return 0;
}

int merge_check_memory(const struct merge_options *o, const struct kernels *k, int64_t merged_bytes, const struct token_file *t, int64_t *bytes, struct err *e)
{
    struct side a = {0};
    int code = open_side(&a, k, o->model, o, t, 0, e);
    if (code == 0) { /* the merged model computes the same rows in as much */
        *bytes = 2 * a.plan.peak - a.plan.weights + merged_bytes + divergence_memory(a.plan.rows, a.model->config.vocab);
        model_each_linear(a.model, true, pair_bytes, bytes);
    }
    close_side(&a);
    return code;
}

int merge_check(const struct merge_options *o, const struct kernels *k, const char *merged, const struct token_file *t, struct divergence *r, struct err *e)
{
    struct side a = {0}, b = {0};
    *r = (struct divergence){0};
    int code = open_side(&a, k, o->model, o, t, 0, e);
    if (code == 0)
        code = plan_commit(&a.plan, NULL, e);
    if (code == 0)
        code = open_side(&b, k, merged, NULL, t, a.plan.rows, e);
    if (code == 0)
        code = plan_commit(&b.plan, NULL, e);
    if (code == 0)
        code = compare(&b, &a, t, r, e);
    close_side(&a);
    close_side(&b);
    return code;
}
