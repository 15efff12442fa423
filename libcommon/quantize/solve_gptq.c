/* GPTQ over a whole layer: the layers' inputs from the calibration walk, a factor for each set of linears that share them. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "quantize/gptq.h"
#include "quantize/hessian.h"
#include "quantize/solver.h"

struct state {
    const struct quantize_options *o;
    struct model *m;
    struct calibrate *walk;
};

/* Second moments under way. */
struct sink {
    const struct kernels *k;
    struct hessian h;
};

static void add_rows(void *arg, const float *x, int64_t rows)
{
    struct sink *s = arg;
    hessian_add(&s->h, s->k, x, rows);
}

static void ignore_rows(void *arg, const float *x, int64_t rows)
{
    (void)arg, (void)x, (void)rows;
}

static bool is_wanted(const struct quantize_layer *l, enum calibrate_stage stage)
{
    for (int i = CALIBRATE_SPANS[stage].first; i < CALIBRATE_SPANS[stage].end; i++)
        if (!l->modules[i].kept)
            return true;
    return false;
}

static void solve_module(const struct state *s, struct quantize_module *q, const struct gptq_factor *f, const struct gptq_options *o)
{
    struct gptq_result r;
    grid_init(&q->grid, q->out, q->in, s->o->group, s->o->bits);
    gptq_solve(&q->grid, q->weight, f, s->m->k, o, &r);
    q->damp = f->damp;
    q->weight_error = r.weight_energy > 0 ? sqrt(r.weight_error / r.weight_energy) : 0;
    q->output_error = r.energy > 0 ? sqrt(r.error / r.energy) : 0;
}

/* Takes the moments. */
static int solve_shared(const struct state *s, struct quantize_layer *l, enum calibrate_stage stage, struct hessian *h, struct err *e)
{
    struct gptq_options o = {s->o->group, s->o->sym, s->o->act_order ? GPTQ_BY_DIAGONAL : GPTQ_IN_GROUPS, false, s->o->damp};
    struct gptq_factor f;
    hessian_finish(h);
    double *at = h->at;
    h->at = NULL;
    if (gptq_factor_init(&f, at, h->n, &o, e)) {
        err_prefix(e, "%s", l->modules[CALIBRATE_SPANS[stage].first].name);
        return -1;
    }
    for (int i = CALIBRATE_SPANS[stage].first; i < CALIBRATE_SPANS[stage].end; i++)
        if (!l->modules[i].kept)
            solve_module(s, &l->modules[i], &f, &o);
    gptq_factor_release(&f);
    return 0;
}

static int run_stage(const struct state *s, struct quantize_layer *l, enum calibrate_stage stage, struct err *e)
{
    struct sink to = {.k = calibrate_device(s->walk)};
    if (!is_wanted(l, stage))
        return calibrate_stage(s->walk, l->index, stage, NULL, NULL, e);
    hessian_init(&to.h, l->modules[CALIBRATE_SPANS[stage].first].in, calibrate_products(s->walk));
    int rc = calibrate_stage(s->walk, l->index, stage, add_rows, &to, e);
    if (!rc)
        rc = solve_shared(s, l, stage, &to.h, e);
    if (!rc)
        calibrate_use_linears(s->walk, l, CALIBRATE_SPANS[stage].first, CALIBRATE_SPANS[stage].end);
    hessian_release(&to.h);
    return rc;
}

/* Every stage with the stages before it quantized. */
static int solve_in_turn(const struct state *s, struct quantize_layer *l, struct err *e)
{
    int rc = 0;
    for (enum calibrate_stage stage = CALIBRATE_QKV; stage < CALIBRATE_STAGES && !rc; stage++)
        rc = run_stage(s, l, stage, e);
    return rc;
}

/* All inputs from the layer as it was. */
static int solve_at_once(const struct state *s, struct quantize_layer *l, struct err *e)
{
    struct sink to[CALIBRATE_STAGES] = {{.k = NULL}};
    calibrate_sink *sinks[CALIBRATE_STAGES];
    void *args[CALIBRATE_STAGES];
    for (int i = CALIBRATE_QKV; i < CALIBRATE_STAGES; i++) {
        sinks[i] = is_wanted(l, i) ? add_rows : ignore_rows;
        args[i] = &to[i];
        to[i].k = calibrate_device(s->walk);
        if (is_wanted(l, i))
            hessian_init(&to[i].h, l->modules[CALIBRATE_SPANS[i].first].in, calibrate_products(s->walk));
    }
    int rc = calibrate_inputs(s->walk, l->index, sinks, args);
    for (int i = CALIBRATE_QKV; i < CALIBRATE_STAGES; i++) {
        if (!rc && is_wanted(l, i))
            rc = solve_shared(s, l, i, &to[i].h, e);
        hessian_release(&to[i].h);
    }
    return rc;
}

static int solve(const struct quantize_options *o, struct model *m, struct calibrate *walk, struct quantize_layer *l, struct err *e)
{
    const struct state s = {o, m, walk};
    return o->true_sequential ? solve_in_turn(&s, l, e) : solve_at_once(&s, l, e);
}

static int64_t memory(const struct quantize_options *o, const struct model *m)
{
    int64_t moments = 0, most = 0, solving = 0;
    for (enum calibrate_stage s = CALIBRATE_QKV; s < CALIBRATE_STAGES; s++) {
        int64_t h = hessian_bytes(layer_linear(&m->layers[0], CALIBRATE_SPANS[s].first)->in);
        moments += h;
        most = h > most ? h : most;
    }
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct linear *l = layer_linear(&m->layers[0], i);
        int64_t w = gptq_solve_bytes(l->out, l->in);
        solving = w > solving ? w : solving;
    }
    return (o->true_sequential ? most : moments) + solving;
}

static double passes(const struct quantize_options *o, double tokens)
{
    (void)tokens;
    return o->true_sequential ? 1 : 2;
}

/* Of each set of inputs the moments and the factor, in double, of each linear the corrections and two errors. */
static double flops(const struct quantize_options *o, const struct layer *l, double tokens)
{
    double sum = 0;
    (void)o;
    for (enum calibrate_stage s = CALIBRATE_QKV; s < CALIBRATE_STAGES; s++)
        for (int i = CALIBRATE_SPANS[s].first; i < CALIBRATE_SPANS[s].end; i++) {
            const struct linear *of = layer_linear((struct layer *)l, i);
            double n = (double)of->in;
            sum += 3 * (double)of->out * n * n + (i == CALIBRATE_SPANS[s].first ? tokens * n * n + 4 * n * n * n / 3 : 0);
        }
    return sum;
}

const struct solver_method solver_gptq = {0, solve, memory, passes, flops};
