#include "quantize/gptq.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "quantize/hessian.h"

enum { BLOCK = 128 };

/* A solution under way. Everything is in the order of rounding. */
struct solving {
    struct grid *g;
    const struct gptq_factor *f;
    const struct gptq_options *o;
    float *w;         /* (out, n) */
    int64_t n, s, e;  /* the block's columns: s .. e - 1 */
    float *u;         /* (e - s, n - s): the block's rows of U, from the diagonal on */
    float *err;       /* (out, BLOCK) */
};

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A block does not cut a group that begins inside it. */
static int64_t block_end(const struct gptq_factor *f, int64_t s)
{
    int64_t e = min_of(s + BLOCK, f->n), cut = e;
    while (cut > s && cut < f->n && !f->first[cut])
        cut--;
    return cut > s ? cut : e;
}

static int64_t group_end(const struct gptq_factor *f, int64_t c)
{
    int64_t e = c + 1;
    while (e < f->n && !f->first[e])
        e++;
    return e;
}

static void block_factor(struct solving *s)
{
    int64_t n = s->n, width = n - s->s;
#pragma omp parallel for schedule(static)
    for (int64_t i = s->s; i < s->e; i++)
        for (int64_t j = i; j < n; j++)
            s->u[(i - s->s) * width + j - s->s] = (float)s->f->u[i * n + j];
}

static void round_block_row(const struct solving *s, int64_t r)
{
    const struct gptq_factor *f = s->f;
    float *w = s->w + r * s->n, *err = s->err + r * BLOCK;
    int64_t width = s->n - s->s;
    for (int64_t c = s->s; c < s->e; c++) {
        const float *u = s->u + (c - s->s) * width - s->s;
        if (f->first[c] && !s->o->static_groups)
            grid_fit(s->g, f->group[c], r, w + c, group_end(f, c) - c, 1, s->o->sym);
        uint8_t code = grid_round(s->g, f->group[c], r, w[c]);
        float value = grid_value(s->g, f->group[c], r, code), e = (w[c] - value) / u[c];
        s->g->codes[r * s->n + f->column[c]] = code;
        err[c - s->s] = e;
#pragma omp simd
        for (int64_t j = c + 1; j < s->e; j++)
            w[j] -= e * u[j];
        w[c] = value;
    }
}

static void correct_rest(const struct solving *s, const struct kernels *k)
{
    int64_t n = s->n, width = n - s->s;
    struct matmul m = {s->g->out, n - s->e, s->e - s->s, {s->err, DTYPE_F32, BLOCK, 1}, {s->u + s->e - s->s, DTYPE_F32, width, 1},
                       s->w + s->e, n, -1, 1, false};
    if (m.n)
        k->matmul(&m, 1);
}

/* A row in the order of rounding, or back. */
static void permute_row(float *w, float *held, const struct gptq_factor *f, bool back)
{
    memcpy(held, w, (size_t)f->n * sizeof *w);
    for (int64_t c = 0; c < f->n; c++)
        w[back ? f->column[c] : c] = held[back ? c : f->column[c]];
}

static void permute_rows(const struct solving *s, float *w, bool back)
{
#pragma omp parallel
    {
        float *held = mem_array(NULL, (size_t)s->n, sizeof *held);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < s->g->out; r++)
            permute_row(w + r * s->n, held, s->f, back);
        free(held);
    }
}

static void fit_static(const struct solving *s)
{
    struct grid *g = s->g;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < g->out; r++)
        for (int64_t i = 0; i < g->groups; i++)
            grid_fit(g, i, r, s->w + r * s->n + i * g->group, min_of(g->group, s->n - i * g->group), 1, s->o->sym);
}

static void drop_dead(const struct solving *s)
{
    for (int64_t c = 0; c < s->n; c++)
        for (int64_t r = 0; r < s->g->out && !(s->f->diagonal[c] > 0); r++)
            s->w[r * s->n + s->f->column[c]] = 0;
}

static void round_all(struct solving *s, const struct kernels *k)
{
    for (s->s = 0; s->s < s->n; s->s = s->e) {
        s->e = block_end(s->f, s->s);
        block_factor(s);
#pragma omp parallel for schedule(dynamic, 16)
        for (int64_t r = 0; r < s->g->out; r++)
            round_block_row(s, r);
        correct_rest(s, k);
    }
}

/* d: the weights before; becomes the error. */
static void measure(const struct solving *s, const struct kernels *k, float *d, struct gptq_result *r)
{
    int64_t out = s->g->out, count = out * s->n;
    r->energy = hessian_energy(k, s->f->u, s->f->diagonal, d, out, s->n);
    r->weight_energy = k->sum_squares(d, count);
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++)
        d[i] -= s->w[i];
    r->error = hessian_energy(k, s->f->u, s->f->diagonal, d, out, s->n);
    r->weight_error = k->sum_squares(d, count);
}

void gptq_solve(struct grid *g, float *w, const struct gptq_factor *f, const struct kernels *k, const struct gptq_options *o,
                struct gptq_result *r)
{
    struct solving s = {g, f, o, w, f->n};
    float *d = mem_array(NULL, (size_t)(g->out * f->n), sizeof *d);
    memcpy(d, w, (size_t)(g->out * f->n) * sizeof *d);
    s.u = mem_array(NULL, (size_t)f->n, BLOCK * sizeof *s.u);
    s.err = mem_array(NULL, (size_t)g->out, BLOCK * sizeof *s.err);
    drop_dead(&s);
    if (o->static_groups)
        fit_static(&s);
    permute_rows(&s, w, false);
    permute_rows(&s, d, false);
    round_all(&s, k);
    measure(&s, k, d, r);
    permute_rows(&s, w, true);
    for (int64_t c = 0; c < f->n; c++)
        g->g_idx[f->column[c]] = f->group[c];
    free(d);
    free(s.u);
    free(s.err);
}

int64_t gptq_solve_bytes(int64_t out, int64_t n)
{
    return (out * n + (n + out) * BLOCK) * (int64_t)sizeof(float);
}
