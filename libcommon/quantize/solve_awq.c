/* AWQ over a whole layer.
 *
 * All statistics are of the layer as it was, its inputs those of the layers before as they are stored. The calibration's samples are used until
 * they have AWQ_TOKENS tokens, evenly spread; the two searches that run a whole block again and again, for q, k, v (attention) and for gate and
 * up (feed-forward), look at the first pack of those, of at most CALIBRATE_ROWS tokens. (AutoAWQ takes all tokens everywhere, but for the search
 * of ranges at most 512.)
 * A norm that takes back scales is rounded as it will be stored, and the weights take exactly what it gives. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/view.h"
#include "quantize/awq.h"
#include "quantize/hessian.h"
#include "quantize/solver.h"

#define AWQ_TOKENS 8192
#define ROUNDING 20 /* operations for a weight onto the grid, for the plan */

struct inputs {
    const struct kernels *k;
    struct hessian h;
    double *sum;      /* of |x| */
    float *mean;
};

struct state {
    const struct quantize_options *o;
    struct model *m;
    struct calibrate *walk;
    struct inputs in[CALIBRATE_STAGES];
};

/* A search under way: linears with the same inputs. */
struct search {
    struct state *s;
    struct quantize_layer *l;
    struct quantize_layer trial; /* the layer with other weights of these linears */
    int first, end;
    int64_t n;
    float *x_mean, *w_mean;
    float *scales, *best;    /* (n) */
    float *want, *got;       /* (rows, C) the block's output, as it was and now */
    float *x2;               /* (rows, C) residual after attention, as it was */
    int64_t rows;
    bool stopped;
};

static enum calibrate_stage stage_of(int linear)
{
    enum calibrate_stage g = CALIBRATE_QKV;
    while (linear >= CALIBRATE_SPANS[g].end)
        g++;
    return g;
}

static void add_rows(void *arg, const float *x, int64_t rows)
{
    struct inputs *in = arg;
    int64_t n = in->h.n;
    hessian_add(&in->h, in->k, x, rows);
    size_t bytes = (size_t)(rows * n) * sizeof *x;
    float *spare = in->k->host_memory ? NULL : mem_alloc(bytes);
    x = kernels_view(in->k, x, spare, bytes);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += 64)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = i; j < i + 64 && j < n; j++)
                in->sum[j] += (double)fabsf(x[r * n + j]);
    free(spare);
}

static void inputs_init(struct inputs *in, const struct calibrate *walk, int64_t n)
{
    in->k = calibrate_device(walk);
    hessian_init(&in->h, n, calibrate_products(walk));
    in->sum = mem_zalloc((size_t)n, sizeof *in->sum);
    in->mean = mem_array(NULL, (size_t)n, sizeof *in->mean);
}

static void inputs_finish(struct inputs *in)
{
    hessian_finish(&in->h);
    for (int64_t i = 0; i < in->h.n; i++)
        in->mean[i] = (float)(in->sum[i] / (double)in->h.rows);
}

static void inputs_release(struct inputs *in)
{
    hessian_release(&in->h);
    free(in->sum);
    free(in->mean);
    *in = (struct inputs){0};
}

static void diagonal_of(double *d, const struct hessian *h)
{
    for (int64_t i = 0; i < h->n; i++)
        d[i] = h->at[i * h->n + i];
}

/* |X (a - b)^T|^2; a - b goes to d. */
static double error_of(const struct state *s, int linear, const float *a, const float *b, float *d, int64_t out)
{
    const struct hessian *h = &s->in[stage_of(linear)].h;
    double *diagonal = mem_array(NULL, (size_t)h->n, sizeof *diagonal);
    diagonal_of(diagonal, h);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < out * h->n; i++)
        d[i] = a[i] - (b ? b[i] : 0);
    double e = hessian_energy(s->m->k, h->at, diagonal, d, out, h->n);
    free(diagonal);
    return e;
}

static double square_difference(const float *a, float *b, int64_t count, const struct kernels *k)
{
    for (int64_t i = 0; i < count; i++)
        b[i] -= a[i];
    return k->sum_squares(b, count);
}

/* The error of the block with the trial's weights. */
static double trial_error(struct search *q)
{
    struct state *s = q->s;
    int64_t c = s->m->config.hidden;
    if (q->first == LAYER_O || q->first == LAYER_DOWN) {
        const struct quantize_module *m = &q->l->modules[q->first];
        float *w = q->trial.modules[q->first].weight;
        return error_of(s, q->first, w, m->weight, w, m->out);
    }
    calibrate_use_linears(s->walk, &q->trial, q->first, q->end);
    if (q->first == LAYER_Q)
        calibrate_try_attention(s->walk, q->l->index, q->got);
    else
        calibrate_try_mlp(s->walk, q->l->index, q->x2, q->got);
    return square_difference(q->want, q->got, q->rows * c, s->m->k);
}

static void search_ratios(struct search *q)
{
    double least = INFINITY;
    for (int i = 0; i < AWQ_RATIOS && !q->stopped; i++) {
        awq_scales(q->scales, q->x_mean, q->w_mean, q->n, (double)i / AWQ_RATIOS);
        for (int j = q->first; j < q->end; j++) {
            const struct quantize_module *m = &q->l->modules[j];
            if (!m->kept)
                awq_try(q->trial.modules[j].weight, m->weight, q->scales, m->out, m->in, q->s->o->group);
        }
        double error = trial_error(q);
        if (error < least) {
            least = error;
            memcpy(q->best, q->scales, (size_t)q->n * sizeof *q->best);
        }
        q->stopped = calibrate_stopped(q->s->walk);
    }
}

static bool all_kept(const struct quantize_layer *l, int first, int end)
{
    for (int i = first; i < end; i++)
        if (!l->modules[i].kept)
            return false;
    return true;
}

/* Best scales of the inputs of linears first .. end - 1, or NULL: there is nothing to scale. */
static float *find_scales(struct search *q, int first, int end)
{
    struct quantize_layer *l = q->l;
    const float *w[LAYER_LINEARS];
    int64_t out[LAYER_LINEARS];
    if (q->s->o->no_scale || all_kept(l, first, end))
        return NULL;
    q->first = first, q->end = end;
    q->n = l->modules[first].in;
    q->trial = *l;
    q->x_mean = q->s->in[stage_of(first)].mean;
    q->w_mean = mem_array(NULL, (size_t)q->n, sizeof *q->w_mean);
    q->scales = mem_array(NULL, (size_t)q->n, sizeof *q->scales);
    q->best = mem_array(NULL, (size_t)q->n, sizeof *q->best);
    for (int i = first; i < end; i++) {
        const struct quantize_module *m = &l->modules[i];
        w[i - first] = m->weight, out[i - first] = m->out;
        if (!m->kept)
            q->trial.modules[i].weight = mem_array(NULL, (size_t)(m->out * m->in), sizeof(float));
    }
    awq_weight_mean(q->w_mean, w, out, end - first, q->n, q->s->o->group);
    for (int64_t i = 0; i < q->n; i++)
        q->best[i] = 1;
    search_ratios(q);
    for (int i = first; i < end; i++)
        if (!l->modules[i].kept)
            free(q->trial.modules[i].weight);
    free(q->w_mean);
    free(q->scales);
    return q->best;
}

static void multiply_columns(struct quantize_module *m, const float *s)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < m->out; o++)
        for (int64_t i = 0; i < m->in; i++)
            m->weight[o * m->in + i] *= s[i];
}

static void divide_rows(struct quantize_module *m, const float *s)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < m->out; o++)
        for (int64_t i = 0; i < m->in; i++)
            m->weight[o * m->in + i] /= s[o];
    for (int64_t o = 0; o < m->out && m->bias.value; o++)
        m->bias.value[o] /= s[o];
}

/* s becomes what the norm, rounded, has given away. */
static void divide_norm(struct quantize_vector *v, float *s)
{
    float *was = mem_array(NULL, (size_t)v->n, sizeof *was);
    void *stored = mem_array(NULL, (size_t)v->n, dtype_size(v->type));
    memcpy(was, v->value, (size_t)v->n * sizeof *was);
    for (int64_t i = 0; i < v->n; i++)
        v->value[i] /= s[i];
    dtype_from_f32(stored, v->type, v->value, (size_t)v->n);
    dtype_to_f32(v->value, stored, v->type, (size_t)v->n);
    for (int64_t i = 0; i < v->n; i++) {
        float given = was[i] / v->value[i];
        if (isfinite(given) && given > 0)
            s[i] = given;
        else
            v->value[i] = was[i], s[i] = 1;
    }
    free(was);
    free(stored);
}

/* Moments of inputs that are divided by s. */
static void divide_inputs(struct inputs *in, const float *s)
{
    int64_t n = in->h.n;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            in->h.at[i * n + j] /= (double)s[i] * (double)s[j];
}

static void apply_scales(struct state *s, struct quantize_layer *l, float *const scales[CALIBRATE_STAGES])
{
    struct quantize_vector *const norms[CALIBRATE_STAGES] = {[CALIBRATE_QKV] = &l->attn_norm, [CALIBRATE_GATE_UP] = &l->mlp_norm};
    const int before[CALIBRATE_STAGES] = {[CALIBRATE_O] = LAYER_V, [CALIBRATE_DOWN] = LAYER_UP};
    for (enum calibrate_stage g = CALIBRATE_QKV; g < CALIBRATE_STAGES; g++) {
        if (!scales[g])
            continue;
        if (norms[g])
            divide_norm(norms[g], scales[g]);
        else
            divide_rows(&l->modules[before[g]], scales[g]);
        divide_inputs(&s->in[g], scales[g]);
        for (int i = CALIBRATE_SPANS[g].first; i < CALIBRATE_SPANS[g].end; i++)
            multiply_columns(&l->modules[i], scales[g]);
    }
}

/* Scales are sought for all groups with the weights as they were, and applied then. 1: stopped. */
static int scale_layer(struct state *s, struct quantize_layer *l)
{
    struct search q = {.s = s, .l = l, .rows = calibrate_try_rows(s->walk)};
    int64_t count = q.rows * s->m->config.hidden;
    float *scales[CALIBRATE_STAGES] = {NULL};
    q.want = mem_array(NULL, (size_t)count, sizeof *q.want);
    q.got = mem_array(NULL, (size_t)count, sizeof *q.got);
    q.x2 = mem_array(NULL, (size_t)count, sizeof *q.x2);
    calibrate_try_attention(s->walk, l->index, q.want);
    calibrate_device(s->walk)->copy_out(q.x2, calibrate_states(s->walk), (size_t)count * sizeof *q.x2);
    s->m->k->add(q.x2, q.want, count);
    scales[CALIBRATE_QKV] = find_scales(&q, LAYER_Q, LAYER_O);
    if (l->modules[LAYER_V].out == l->modules[LAYER_O].in && l->modules[LAYER_V].in == l->modules[LAYER_O].out)
        scales[CALIBRATE_O] = find_scales(&q, LAYER_O, LAYER_GATE);
    calibrate_use(s->walk, l);
    calibrate_try_mlp(s->walk, l->index, q.x2, q.want);
    scales[CALIBRATE_GATE_UP] = find_scales(&q, LAYER_GATE, LAYER_DOWN);
    scales[CALIBRATE_DOWN] = find_scales(&q, LAYER_DOWN, LAYER_LINEARS);
    calibrate_use(s->walk, l);
    if (!q.stopped)
        apply_scales(s, l, scales);
    for (int i = 0; i < CALIBRATE_STAGES; i++)
        free(scales[i]);
    free(q.want);
    free(q.got);
    free(q.x2);
    return q.stopped;
}

static void round_module(struct state *s, struct quantize_layer *l, int i)
{
    struct quantize_module *m = &l->modules[i];
    int64_t count = m->out * m->in;
    float *was = mem_array(NULL, (size_t)count, sizeof *was), *d = mem_array(NULL, (size_t)count, sizeof *d);
    memcpy(was, m->weight, (size_t)count * sizeof *was);
    if (!s->o->no_clip && i != LAYER_Q && i != LAYER_K)
        awq_clip(m->weight, s->in[stage_of(i)].h.at, m->out, m->in, s->o->group);
    grid_init(&m->grid, m->out, m->in, s->o->group, 4);
    awq_round(&m->grid, m->weight);
    double energy = error_of(s, i, was, NULL, d, m->out), size = s->m->k->sum_squares(was, count);
    double error = error_of(s, i, was, m->weight, d, m->out), off = s->m->k->sum_squares(d, count);
    m->output_error = energy > 0 ? sqrt(error / energy) : 0;
    m->weight_error = size > 0 ? sqrt(off / size) : 0;
    m->damp = NAN;
    free(was);
    free(d);
}

static int check_finite(const struct state *s, const struct quantize_layer *l, struct err *e)
{
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct inputs *in = &s->in[stage_of(i)];
        for (int64_t j = 0; j < in->h.n; j++)
            if (!isfinite(in->h.at[j * in->h.n + j]))
                return err_set(e, "%s: input %lld: found what is not finite among the calibration's activations, expected numbers", l->modules[i].name,
                               (long long)j);
    }
    return 0;
}

static int solve_with_inputs(struct state *s, struct quantize_layer *l, struct err *e)
{
    calibrate_sink *const sinks[CALIBRATE_STAGES] = {add_rows, add_rows, add_rows, add_rows};
    void *const args[CALIBRATE_STAGES] = {&s->in[0], &s->in[1], &s->in[2], &s->in[3]};
    if (calibrate_inputs(s->walk, l->index, sinks, args))
        return 1;
    for (int i = 0; i < CALIBRATE_STAGES; i++)
        inputs_finish(&s->in[i]);
    if (check_finite(s, l, e))
        return -1;
    if (!s->o->no_scale && scale_layer(s, l))
        return 1;
    for (int i = 0; i < LAYER_LINEARS; i++)
        if (!l->modules[i].kept)
            round_module(s, l, i);
    return 0;
}

static int solve(const struct quantize_options *o, struct model *m, struct calibrate *walk, struct quantize_layer *l, struct err *e)
{
    struct state s = {.o = o, .m = m, .walk = walk};
    for (enum calibrate_stage g = CALIBRATE_QKV; g < CALIBRATE_STAGES; g++)
        inputs_init(&s.in[g], walk, l->modules[CALIBRATE_SPANS[g].first].in);
    int rc = solve_with_inputs(&s, l, e);
    for (enum calibrate_stage g = CALIBRATE_QKV; g < CALIBRATE_STAGES; g++)
        inputs_release(&s.in[g]);
    return rc;
}

static int64_t memory(const struct quantize_options *o, const struct model *m)
{
    int64_t moments = 0, solving = 0;
    (void)o;
    for (enum calibrate_stage g = CALIBRATE_QKV; g < CALIBRATE_STAGES; g++)
        moments += hessian_bytes(layer_linear(&m->layers[0], CALIBRATE_SPANS[g].first)->in);
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct linear *l = layer_linear(&m->layers[0], i);
        int64_t w = 2 * l->out * l->in * (int64_t)sizeof(float);
        solving = w > solving ? w : solving;
    }
    return moments + solving + 3 * CALIBRATE_ROWS * m->config.hidden * (int64_t)sizeof(float);
}

static double passes(const struct quantize_options *o, double tokens)
{
    double tried = tokens < CALIBRATE_ROWS ? tokens : CALIBRATE_ROWS;
    return 2 + (o->no_scale ? 0 : (AWQ_RATIOS + 1) * tried / tokens);
}

/* The moments; of each linear two errors, the search of ranges, and what is tried by rounding, with the error where no block is run. */
static double flops(const struct quantize_options *o, const struct layer *l, double tokens)
{
    double sum = 0;
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct linear *of = layer_linear((struct layer *)l, i);
        double n = (double)of->in, weights = (double)of->out * n, group = o->group ? (double)o->group : n;
        bool first = i == CALIBRATE_SPANS[stage_of(i)].first, alone = i == LAYER_O || i == LAYER_DOWN;
        sum += (first ? tokens * n * n : 0) + 2 * weights * n;
        sum += o->no_clip || i == LAYER_Q || i == LAYER_K ? 0 : AWQ_SHRINKS * weights * (group + ROUNDING);
        sum += o->no_scale ? 0 : AWQ_RATIOS * weights * (ROUNDING + (alone ? n : 0));
    }
    return sum;
}

const struct solver_method solver_awq = {AWQ_TOKENS, solve, memory, passes, flops};
