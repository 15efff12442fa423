#include "model/decoder_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/threads.h"
#include "model/rope.h"

static int find_lowest(const struct model *m)
{
    int l = 0;
    while (!m->embed.pw && l < m->config.layers && !layer_trains(&m->layers[l]))
        l++;
    return l;
}

struct decoder *decoder_new(struct model *m, int64_t max_rows, int max_seq, bool backward, enum decoder_keep keep)
{
    struct decoder *d = mem_zalloc(1, sizeof *d);
    int layers = m->config.layers;
    d->m = m;
    d->max_rows = max_rows;
    d->rows = max_rows > DECODER_MIN_ROWS ? max_rows : DECODER_MIN_ROWS;
    d->max_seq = max_seq;
    d->backward = backward;
    d->keep = keep;
    d->lowest = backward ? find_lowest(m) : layers;
    d->n_kept = keep == DECODER_RECOMPUTE || d->lowest == layers ? 1 : layers - d->lowest;
    d->n_kept = keep == DECODER_OFFLOAD && d->n_kept > OFFLOAD_SLOTS ? OFFLOAD_SLOTS : d->n_kept;
    d->kept = mem_zalloc((size_t)d->n_kept, sizeof *d->kept);
    d->x = mem_zalloc((size_t)layers + 1, sizeof *d->x);
    d->seq = mem_zalloc((size_t)max_seq, sizeof *d->seq);
    d->inv = mem_zalloc((size_t)m->config.head_dim / 2, sizeof *d->inv);
    head_init(d);
    return d;
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    head_release(d);
    offload_release(&d->offload);
    free(d->kept);
    free(d->x);
    free(d->seq);
    free(d->inv);
    free(d->host_cos_sin);
    free(d->weight);
    free(d);
}

void decoder_set_stop(struct decoder *d, int (*stop)(void))
{
    d->stop = stop;
}

bool decoder_stopped(const struct decoder *d)
{
    return d->stop && d->stop();
}

bool decoder_trains_body(const struct decoder *d)
{
    return d->lowest < d->m->config.layers || d->m->embed.pw;
}

static struct layer_kept *kept_of(const struct decoder *d, int layer)
{
    return &d->kept[layer < d->lowest ? 0 : (layer - d->lowest) % d->n_kept];
}

static float *take(struct arena *a, const char *label, int64_t rows, int64_t cols)
{
    return cols ? arena_alloc(a, label, (size_t)rows * (size_t)cols, sizeof(float)) : NULL;
}

/* Floats a row that slot `i` needs for the A x of linear `j`: of its own layer, or the most that any layer needs. */
static int64_t low_width(const struct decoder *d, int i, int j)
{
    int most = 0;
    if (d->keep == DECODER_KEEP && d->n_kept > 1)
        return linear_kept_rank(layer_linear(&d->m->layers[d->lowest + i], j));
    for (int l = d->lowest; l < d->m->config.layers; l++) {
        int rank = linear_kept_rank(layer_linear(&d->m->layers[l], j));
        most = rank > most ? rank : most;
    }
    return most;
}

static void layout_kept(struct decoder *d, struct arena *a, int i)
{
    const struct model_config *c = &d->m->config;
    struct layer_kept *s = &d->kept[i];
    int64_t n = d->rows, q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    const char *label = "activations kept for backward";
    s->q = take(a, label, n, q);
    s->k = take(a, label, n, kv);
    s->v = take(a, label, n, kv);
    s->q_rstd = take(a, label, n, c->qk_norm ? c->heads : 0);
    s->k_rstd = take(a, label, n, c->qk_norm ? c->kv_heads : 0);
    s->att = take(a, label, n, q);
    s->lse = take(a, label, n, c->heads);
    s->x2 = take(a, label, n, c->hidden);
    s->rstd1 = take(a, label, n, 1);
    s->rstd2 = take(a, label, n, 1);
    s->gate = take(a, label, n, c->ffn);
    s->up = take(a, label, n, c->ffn);
    for (int j = 0; j < LAYER_LINEARS; j++)
        s->low[j] = d->backward ? take(a, label, n, low_width(d, i, j)) : NULL;
}

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void layout_pairs(struct decoder *d, struct arena *a)
{
    struct model *m = d->m;
    int64_t rank = linear_rank(&m->head), in = d->backward && linear_drops(&m->head) ? m->head.in : 0, grid = linear_grid_size(&m->head);
    for (int l = 0; l < m->config.layers; l++)
        for (int j = 0; j < LAYER_LINEARS; j++) {
            const struct linear *x = layer_linear(&m->layers[l], j);
            rank = max_of(rank, linear_rank(x));
            in = max_of(in, d->backward && linear_drops(x) ? x->in : 0);
            grid = max_of(grid, linear_grid_size(x));
        }
    d->work.pass.low = take(a, "scratch", d->rows, LINEAR_EACH_MAX * rank);
    d->work.pass.drop = take(a, "scratch", d->rows, in);
    d->work.pass.grid = take(a, "scratch", 1, grid);
}

static void layout_work(struct decoder *d, struct arena *a)
{
    const struct model_config *c = &d->m->config;
    struct layer_work *w = &d->work;
    int64_t n = d->rows, q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    bool body = d->backward && decoder_trains_body(d);
    w->xn = take(a, "scratch", n, c->hidden);
    w->f = take(a, "scratch", n, c->ffn);
    w->q_rot = take(a, "scratch", n, c->qk_norm ? q : 0);
    w->k_rot = take(a, "scratch", n, c->qk_norm ? kv : 0);
    w->dx = take(a, "scratch", n, body ? c->hidden : 0);
    w->dn = take(a, "scratch", n, body ? c->hidden : 0);
    w->datt = take(a, "scratch", n, body ? q : 0);
    w->dq = take(a, "scratch", n, body ? q : 0);
    w->dk = take(a, "scratch", n, body ? kv : 0);
    w->dv = take(a, "scratch", n, body ? kv : 0);
    layout_pairs(d, a);
    d->ids = arena_alloc(a, "scratch", (size_t)n, sizeof *d->ids);
    d->pos = arena_alloc(a, "scratch", (size_t)n, sizeof *d->pos);
    d->cos_sin = take(a, "scratch", n, c->head_dim);
    w->pos = d->pos;
    w->cos_sin = d->cos_sin;
}

void decoder_layout(struct decoder *d, struct arena *a)
{
    const struct model *m = d->m;
    const struct model_config *c = &m->config;
    for (int l = 0; l <= c->layers; l++)
        d->x[l] = l && l <= d->lowest ? d->x[0] : take(a, d->backward ? "activations kept for backward" : "scratch", d->rows, c->hidden);
    size_t before = a->used;
    for (int i = 0; i < d->n_kept; i++)
        layout_kept(d, a, i);
    if (d->keep == DECODER_OFFLOAD)
        offload_plan(&d->offload, c->layers - d->lowest, (a->used - before) / (size_t)d->n_kept); /* places are alike, each in one piece from q on */
    layout_work(d, a);
    head_layout(d, a);
    bool tied = d->backward && m->embed.pw && m->embed.pw == m->head.pw;
    d->tied_grad = take(a, "gradients", c->vocab, tied ? c->hidden : 0);
}

size_t decoder_host_bytes(const struct decoder *d)
{
    return d->offload.host_bytes;
}

int decoder_take_host(struct decoder *d, struct err *e)
{
    return offload_take(&d->offload, d->m->k->transfer, e);
}

static int check_batch(const struct decoder *d, const struct batch *b, struct err *e)
{
    if (b->n < 1 || b->n > d->max_rows || b->n_seq < 1 || b->n_seq > d->max_seq)
        return err_set(e, "batch: found %lld rows of %d samples, expected 1 to %lld rows of 1 to %d", (long long)b->n, b->n_seq,
                       (long long)d->max_rows, d->max_seq);
    if (b->start[0] != 0 || b->start[b->n_seq] != b->n)
        return err_set(e, "batch: bounds do not cover its %lld rows", (long long)b->n);
    for (int s = 0; s < b->n_seq; s++)
        if (b->start[s + 1] <= b->start[s])
            return err_set(e, "batch: sample %d: found no rows, expected at least one", s);
    for (int s = 0; s < b->n_seq && b->forks; s++) {
        const struct batch_fork *f = &b->forks[s];
        if ((f->at || f->end) && (f->at < 0 || f->end <= f->at || f->end >= b->start[s + 1] - b->start[s]))
            return err_set(e, "batch: sample %d: found a fork from row %lld to %lld, which its %lld rows do not hold", s, (long long)f->at, (long long)f->end,
                           (long long)(b->start[s + 1] - b->start[s]));
    }
    for (int64_t i = 0; i < b->n; i++) {
        if (b->ids[i] < 0 || b->ids[i] >= d->m->config.vocab)
            return err_set(e, "batch: row %lld: found token %d, expected 0 to %lld", (long long)i, b->ids[i],
                           (long long)d->m->config.vocab - 1);
        if (b->targets && (b->targets[i] < -1 || b->targets[i] >= d->m->config.vocab))
            return err_set(e, "batch: row %lld: found target %d, expected -1 to %lld", (long long)i, b->targets[i],
                           (long long)d->m->config.vocab - 1);
    }
    return 0;
}

static struct batch_fork fork_of(const struct batch *b, int s)
{
    return b->forks ? b->forks[s] : (struct batch_fork){0, 0};
}

/* Row i of the table rotates row i of the batch, so that each sample can have frequencies of its own: of a fork those of the longer branch. */
static void fill_rotation(struct decoder *d)
{
    const struct model_config *c = &d->m->config;
    const struct batch *b = d->batch;
    int dim = c->head_dim;
    if (!d->host_cos_sin)
        d->host_cos_sin = mem_array(NULL, (size_t)d->rows * (size_t)dim, sizeof *d->host_cos_sin);
    memset(d->host_cos_sin, 0, (size_t)(d->n * dim) * sizeof *d->host_cos_sin);
    int32_t *pos = mem_array(NULL, (size_t)d->n, sizeof *pos);
    for (int64_t i = 0; i < d->n; i++)
        pos[i] = (int32_t)i;
    for (int s = 0; s < b->n_seq; s++) {
        int64_t first = b->start[s], len = b->start[s + 1] - first;
        struct batch_fork f = fork_of(b, s);
        int64_t back = f.end - f.at, behind = len - back;
        float scaling = rope_frequencies(d->inv, c, !f.end ? len : behind > f.end ? behind : f.end);
#pragma omp parallel for
        for (int64_t i = 0; i < len; i++)
            rope_fill(d->host_cos_sin + (first + i) * dim, d->inv, dim, scaling, i < f.end || !f.end ? i : i - back);
    }
    d->m->k->copy_in(d->cos_sin, d->host_cos_sin, (size_t)(d->n * dim) * sizeof *d->cos_sin);
    d->m->k->copy_in(d->pos, pos, (size_t)d->n * sizeof *pos);
    free(pos);
}

static int begin(struct decoder *d, const struct batch *b, bool dropout, uint64_t seed, int64_t step, struct err *e)
{
    const struct model *m = d->m;
    if (check_batch(d, b, e))
        return -1;
    d->batch = b;
    d->n = b->n > DECODER_MIN_ROWS ? b->n : DECODER_MIN_ROWS;
    struct linear_pass *p = &d->work.pass;
    p->k = m->k;
    p->bf16 = m->bf16;
    p->dropout = dropout;
    p->seed = seed;
    p->step = step;
    p->row0 = b->row0;
    p->cuts = b->start;
    p->n_cuts = b->n_seq;
    p->rows = NULL;
    for (int s = 0; s < b->n_seq; s++) {
        int64_t len = b->start[s + 1] - b->start[s];
        struct batch_fork f = fork_of(b, s);
        d->seq[s] = (struct attention_seq){.q_row = b->start[s], .q_len = len, .k_len = len, .fork_at = f.at, .fork_end = f.end};
    }
    fill_rotation(d);
    m->k->copy_in(d->ids, b->ids, (size_t)b->n * sizeof *b->ids);
    return 0;
}

static void zero_tail(const struct decoder *d, float *x, int64_t cols)
{
    if (d->n > d->batch->n)
        d->m->k->zero(x + d->batch->n * cols, (size_t)((d->n - d->batch->n) * cols) * sizeof *x);
}

static void attend(struct decoder *d, int layer, struct layer_kept *s)
{
    struct attention a = layer_attention(&d->work, d->m, layer, s);
    for (int i = 0; i < d->batch->n_seq; i++) {
        d->seq[i].k = layer_k(&d->work, d->m, s) + d->seq[i].q_row * a.kv_stride;
        d->seq[i].v = s->v + d->seq[i].q_row * a.kv_stride;
    }
    a.n_seq = d->batch->n_seq;
    a.seq = d->seq;
    d->m->k->attention(&a);
    zero_tail(d, s->att, a.out_stride);
}

static void run_layer(struct decoder *d, int layer, float *x_next)
{
    struct layer_kept *s = kept_of(d, layer);
    layer_before_attention(&d->work, d->m, layer, d->x[layer], s, d->n);
    attend(d, layer, s);
    layer_after_attention(&d->work, d->m, layer, d->x[layer], s, x_next, d->n);
}

static void embed(struct decoder *d)
{
    const struct model *m = d->m;
    int64_t c = m->config.hidden;
    struct mat table = {m->embed.weight, m->embed.type, c, 1};
    m->k->embedding(d->x[0], &table, d->ids, d->batch->n, c);
    zero_tail(d, d->x[0], c);
}

/* back: to go backward then. False: stopped, here and below. */
static bool forward(struct decoder *d, bool back)
{
    embed(d);
    offload_begin(&d->offload, back);
    for (int l = 0; l < d->m->config.layers; l++) {
        threads_adapt();
        if (decoder_stopped(d))
            return false;
        offload_enter(&d->offload, l - d->lowest);
        run_layer(d, l, d->x[l + 1]);
        if (l >= d->lowest)
            offload_leave(&d->offload, l - d->lowest, kept_of(d, l)->q);
    }
    return true;
}

static bool backward(struct decoder *d)
{
    const struct model *m = d->m;
    for (int l = m->config.layers - 1; l >= d->lowest; l--) {
        threads_adapt();
        if (decoder_stopped(d))
            return false;
        if (d->keep == DECODER_RECOMPUTE)
            run_layer(d, l, NULL);
        offload_enter_back(&d->offload, l - d->lowest);
        layer_backward(&d->work, m, l, d->x[l], kept_of(d, l), d->seq, d->batch->n_seq, l > d->lowest || m->embed.pw, d->n,
                       d->batch->n);
        offload_leave_back(&d->offload, l - d->lowest, kept_of(d, l)->q);
    }
    if (m->embed.pw)
        m->k->embedding_backward(d->tied_grad ? d->tied_grad : m->embed.pw->grad, d->work.dx, d->ids, d->batch->n, m->config.hidden,
                                 m->config.vocab);
    return true;
}

void decoder_end_step(struct decoder *d)
{
    const struct model *m = d->m;
    if (!d->tied_grad)
        return;
    m->k->add(m->embed.pw->grad, d->tied_grad, m->embed.pw->numel);
    m->k->zero(d->tied_grad, (size_t)m->embed.pw->numel * sizeof *d->tied_grad);
}

int decoder_forward_backward(struct decoder *d, const struct batch *b, float grad_scale, uint64_t seed, int64_t step,
                             struct decoder_result *r, struct err *e)
{
    if (!d->backward)
        return err_set(e, "decoder: planned for evaluation, expected one planned for training");
    if (begin(d, b, true, seed, step, e))
        return -1;
    if (!forward(d, grad_scale != 0) || !head_loss(d, grad_scale, NULL, r, NULL) || (grad_scale != 0 && r->trained && decoder_trains_body(d) && !backward(d)))
        *r = (struct decoder_result){.stopped = true};
    return 0;
}

/* The gradient of the last layer's output is there for weights of 1: each row's is brought to its own. */
static void weigh_rows(struct decoder *d)
{
    const struct kernels *k = d->m->k;
    k->copy_in(d->work.dn, d->weight, (size_t)d->batch->n * sizeof *d->weight);
    k->scale_rows(d->work.dx, d->work.dn, d->batch->n, d->m->config.hidden);
}

/* False: stopped. *code: what weigh returned. */
static bool weighed(struct decoder *d, const struct decoder_rows *rows, decoder_weigh *weigh, void *arg, struct decoder_result *r, int *code, struct err *e)
{
    bool once = weigh && !head_trains(d);
    if (!forward(d, weigh != NULL) || !head_loss(d, once ? 1 : 0, NULL, r, rows))
        return false;
    if (!weigh)
        return true;
    memset(d->weight, 0, (size_t)d->batch->n * sizeof *d->weight);
    *code = weigh(arg, d->batch, rows, d->weight, e);
    if (*code || !r->trained)
        return true;
    struct decoder_result again;
    if (!once && !head_loss(d, 1, d->weight, &again, NULL))
        return false;
    if (!decoder_trains_body(d))
        return true;
    if (once)
        weigh_rows(d);
    return backward(d);
}

int decoder_weighed(struct decoder *d, const struct batch *b, const struct decoder_rows *rows, decoder_weigh *weigh, void *arg, uint64_t seed,
                    int64_t step, struct decoder_result *r, struct err *e)
{
    int code = 0;
    if (weigh && !d->backward)
        return err_set(e, "decoder: planned for evaluation, expected one planned for training");
    if (begin(d, b, true, seed, step, e))
        return -1;
    if (!d->weight)
        d->weight = mem_array(NULL, (size_t)d->rows, sizeof *d->weight);
    if (!weighed(d, rows, weigh, arg, r, &code, e))
        *r = (struct decoder_result){.stopped = true};
    return code;
}

int decoder_measure(struct decoder *d, const struct batch *b, const struct decoder_rows *rows, struct decoder_result *r, struct err *e)
{
    if (begin(d, b, false, 0, 0, e))
        return -1;
    if (!forward(d, false) || !head_loss(d, 0, NULL, r, rows))
        *r = (struct decoder_result){.stopped = true};
    return 0;
}

int decoder_loss(struct decoder *d, const struct batch *b, struct decoder_result *r, float *per_row, struct err *e)
{
    const struct decoder_rows rows = {.loss = per_row};
    return decoder_measure(d, b, &rows, r, e);
}

int decoder_forward(struct decoder *d, const struct batch *b, struct err *e)
{
    if (begin(d, b, false, 0, 0, e))
        return -1;
    return forward(d, false) ? 0 : err_set(e, "stopped");
}

int decoder_start(struct decoder *d, const struct batch *b, struct err *e)
{
    if (begin(d, b, false, 0, 0, e))
        return -1;
    embed(d);
    return 0;
}

const float *decoder_layer(struct decoder *d, int layer)
{
    threads_adapt();
    run_layer(d, layer, d->x[layer + 1]);
    return d->x[layer + 1];
}

int decoder_scores(struct decoder *d, const int32_t *rows, int64_t n_rows,
                   int (*sink)(void *arg, int64_t first, int64_t count, const float *logits), void *arg, struct err *e)
{
    for (int64_t i = 0; rows && i < n_rows; i++)
        if (rows[i] < 0 || rows[i] >= d->batch->n)
            return err_set(e, "batch: found row %d asked for, expected 0 to %lld", rows[i], (long long)d->batch->n - 1);
    return head_logits(d, rows, rows ? n_rows : d->batch->n, sink, arg);
}
