#include "quantize/solver.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/model.h"

struct solver {
    const struct solver_method *method;
    const struct quantize_options *o;
    struct model *m;
    struct calibrate *walk;
};

static const struct solver_method *const methods[QUANTIZE_AWQ + 1] = {[QUANTIZE_GPTQ] = &solver_gptq, [QUANTIZE_AWQ] = &solver_awq};

bool solver_has(enum quantize_method m)
{
    return methods[m] != NULL;
}

struct solver *solver_open(const struct quantize_options *o, struct model *m, const struct kernels *k, const struct token_file *t, int (*stop)(void), struct err *e)
{
    const struct solver_method *method = methods[o->method];
    struct calibrate *walk = calibrate_open(m, k, t, method->tokens, stop, e);
    if (!walk)
        return NULL;
    struct solver *s = mem_alloc(sizeof *s);
    *s = (struct solver){method, o, m, walk};
    return s;
}

int solver_solve(struct solver *s, struct quantize_layer *l, struct err *e)
{
    calibrate_use(s->walk, l);
    int rc = s->method->solve(s->o, s->m, s->walk, l, e);
    calibrate_restore(s->walk);
    return rc;
}

int solver_advance(struct solver *s, const struct quantize_layer *l)
{
    calibrate_use(s->walk, l);
    int rc = calibrate_advance(s->walk, l->index);
    calibrate_restore(s->walk);
    return rc;
}

void solver_close(struct solver *s)
{
    if (!s)
        return;
    calibrate_close(s->walk);
    free(s);
}

int64_t solver_memory(const struct quantize_options *o, const struct model *m, const struct kernels *k, const struct token_file *t, int64_t *device)
{
    const struct solver_method *method = methods[o->method];
    int64_t rows = t->longest > CALIBRATE_ROWS ? t->longest : CALIBRATE_ROWS, pieces = rows * m->config.ffn * (int64_t)sizeof(float);
    int64_t walk = calibrate_bytes(m, k, t, method->tokens);
    *device = k->host_memory ? 0 : walk + (int64_t)k->scratch_bytes(m->config.heads, m->config.kv_heads, m->config.head_dim, rows);
    return (k->host_memory ? walk : pieces) + method->memory(o, m);
}

void solver_work(struct solver_work *w, const struct quantize_options *o, const struct model *m, const struct token_file *t)
{
    const struct solver_method *method = methods[o->method];
    double all = (double)t->n_tokens, tokens = method->tokens && t->n_tokens > method->tokens ? (double)method->tokens : all;
    double passes = method->passes(o, tokens), pairs = token_file_attended(t) * tokens / all;
    *w = (struct solver_work){.rows = passes * tokens, .passes = passes * decoder_flops(m, (int64_t)tokens, 0, pairs, false, false)};
    for (int i = 0; i < m->config.layers; i++)
        w->beside += method->flops(o, &m->layers[i], tokens);
}
