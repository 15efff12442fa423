/* GPTQ as a solver: the layers' inputs from the calibration walk, a factor for each set of linears that share them. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "quantize/calibrate.h"
#include "quantize/gptq.h"
#include "quantize/hessian.h"

struct state {
    const struct quantize_options *o;
    struct model *m;
    struct calibrate *walk;
    int solved;   /* the layer whose stages have run up to CALIBRATE_DOWN; -1: none */
};

/* Which linears have a stage's inputs: first .. end - 1. */
static const struct { int first, end; } SHARED[] = {
    [CALIBRATE_QKV] = {LAYER_Q, LAYER_O}, [CALIBRATE_O] = {LAYER_O, LAYER_GATE}, [CALIBRATE_GATE_UP] = {LAYER_GATE, LAYER_DOWN},
    [CALIBRATE_DOWN] = {LAYER_DOWN, LAYER_LINEARS},
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
    for (int i = SHARED[stage].first; i < SHARED[stage].end; i++)
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
        err_prefix(e, "%s", l->modules[SHARED[stage].first].name);
        return -1;
    }
    for (int i = SHARED[stage].first; i < SHARED[stage].end; i++)
        if (!l->modules[i].kept)
            solve_module(s, &l->modules[i], &f, &o);
    gptq_factor_release(&f);
    return 0;
}

static int run_stage(struct state *s, struct quantize_layer *l, enum calibrate_stage stage, struct err *e)
{
    struct sink to = {.k = s->m->k};
    if (!is_wanted(l, stage))
        return calibrate_stage(s->walk, l->index, stage, NULL, NULL, e);
    hessian_init(&to.h, l->modules[SHARED[stage].first].in);
    int rc = calibrate_stage(s->walk, l->index, stage, add_rows, &to, e);
    if (!rc)
        rc = solve_shared(s, l, stage, &to.h, e);
    hessian_release(&to.h);
    return rc;
}

/* Every stage with the stages before it quantized. */
static int solve_in_turn(struct state *s, struct quantize_layer *l, struct err *e)
{
    int rc = 0;
    for (enum calibrate_stage stage = CALIBRATE_QKV; stage <= CALIBRATE_DOWN && !rc; stage++)
        rc = run_stage(s, l, stage, e);
    s->solved = rc ? -1 : l->index;
    return rc;
}

/* All inputs from the layer as it was. */
static int solve_at_once(struct state *s, struct quantize_layer *l, struct err *e)
{
    struct sink to[4] = {{.k = NULL}};
    calibrate_sink *sinks[4];
    void *args[4];
    for (int i = CALIBRATE_QKV; i <= CALIBRATE_DOWN; i++) {
        sinks[i] = is_wanted(l, i) ? add_rows : ignore_rows;
        args[i] = &to[i];
        to[i].k = s->m->k;
        if (is_wanted(l, i))
            hessian_init(&to[i].h, l->modules[SHARED[i].first].in);
    }
    int rc = calibrate_inputs(s->walk, l->index, sinks, args);
    for (int i = CALIBRATE_QKV; i <= CALIBRATE_DOWN; i++) {
        if (!rc && is_wanted(l, i))
            rc = solve_shared(s, l, i, &to[i].h, e);
        hessian_release(&to[i].h);
    }
    return rc;
}

static int solve(void *state, struct quantize_layer *l, struct err *e)
{
    struct state *s = state;
    calibrate_use(s->walk, l);
    int rc = s->o->true_sequential ? solve_in_turn(s, l, e) : solve_at_once(s, l, e);
    calibrate_restore(s->walk);
    return rc;
}

static int advance(void *state, const struct quantize_layer *l, struct err *e)
{
    struct state *s = state;
    calibrate_use(s->walk, l);
    int rc = s->solved == l->index ? calibrate_stage(s->walk, l->index, CALIBRATE_NEXT, NULL, NULL, e) : calibrate_advance(s->walk, l->index);
    calibrate_restore(s->walk);
    return rc;
}

static void *open_solver(const struct quantize_options *o, struct model *m, const struct token_file *t, int (*stop)(void), struct err *e)
{
    struct state *s = mem_zalloc(1, sizeof *s);
    *s = (struct state){o, m, calibrate_open(m, t, 0, stop, e), -1};
    if (s->walk)
        return s;
    free(s);
    return NULL;
}

static void close_solver(void *state)
{
    struct state *s = state;
    if (!s)
        return;
    calibrate_close(s->walk);
    free(s);
}

static int memory(const struct quantize_options *o, struct model *m, const struct token_file *t, int64_t *bytes, struct err *e)
{
    int64_t moments = 0, most = 0, solving = 0;
    (void)e;
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct linear *l = layer_linear(&m->layers[0], i);
        bool first = i == LAYER_Q || i == LAYER_O || i == LAYER_GATE || i == LAYER_DOWN;
        int64_t h = hessian_bytes(l->in), w = gptq_solve_bytes(l->out, l->in);
        moments += first ? h : 0;
        most = h > most ? h : most;
        solving = w > solving ? w : solving;
    }
    *bytes = calibrate_bytes(m, t, 0, true) + (o->true_sequential ? most : moments) + solving;
    return 0;
}

const struct quantize_solver quantize_gptq = {"gptq", memory, open_solver, solve, advance, close_solver};
