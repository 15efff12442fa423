/* Backward pass of a layer. Every piece runs only when something that is trained lies at or below it. */
#include "model/layer.h"

struct layer_wants layer_find_wants(const struct layer *ly, bool below)
{
    struct layer_wants t;
    t.attn_in = below || ly->attn_norm.pw;
    t.qkv = t.attn_in || linear_trains(&ly->q) || linear_trains(&ly->k) || linear_trains(&ly->v) || ly->q_norm.pw || ly->k_norm.pw;
    t.attn = t.qkv || linear_trains(&ly->o);
    t.mlp_in = t.attn || ly->mlp_norm.pw;
    t.hidden = t.mlp_in || linear_trains(&ly->gate) || linear_trains(&ly->up);
    return t;
}

static void norm_again(const struct layer_work *w, const struct model *m, const struct norm *norm, const float *x, int64_t n)
{
    const struct model_config *c = &m->config;
    w->pass.k->rmsnorm(w->xn, c->hidden, NULL, x, c->hidden, norm->weight, false, (float)c->rms_eps, n, c->hidden);
}

void layer_norm_backward(const struct linear_pass *p, const struct norm *norm, int64_t each, int64_t size, float *dx, bool add,
                         const float *dy, const float *x, const float *rstd, int64_t n)
{
    struct row_sum dw = {norm->pw ? norm->pw->grad : NULL, p->cuts, p->n_cuts, each};
    p->k->rmsnorm_backward(dx, size, add, dw.to ? &dw : NULL, dy, size, x, size, norm->weight, false, rstd, n * each, size);
}

static void mlp_backward(const struct layer_work *w, const struct model *m, const struct layer *ly, struct layer_kept *kept,
                         const struct layer_wants *t, int64_t n)
{
    const struct kernels *k = w->pass.k;
    int64_t count = n * m->config.ffn;
    float *dn = t->mlp_in ? w->dn : NULL;
    if (linear_needs_input(&ly->down))
        k->swiglu(w->f, kept->gate, kept->up, count);
    linear_backward(&w->pass, &ly->down, t->hidden ? w->f : NULL, w->dx, w->f, kept->low[LAYER_DOWN], n);
    if (!t->hidden)
        return;
    k->swiglu_backward(kept->gate, kept->up, w->f, kept->gate, kept->up, count);
    if (linear_needs_input(&ly->gate) || linear_needs_input(&ly->up))
        norm_again(w, m, &ly->mlp_norm, kept->x2, n);
    const struct linear_from gate_up[] = {{&ly->gate, kept->gate, kept->low[LAYER_GATE]}, {&ly->up, kept->up, kept->low[LAYER_UP]}};
    linear_backward_each(&w->pass, gate_up, 2, dn, w->xn, n);
    if (t->mlp_in)
        layer_norm_backward(&w->pass, &ly->mlp_norm, 1, m->config.hidden, w->dx, true, dn, kept->x2, kept->rstd2, n);
}

/* Back through the rotation and, where the model has it, the norm of every head. Returns the gradient of the projection. */
static float *unrotate(const struct layer_work *w, const struct model *m, const struct norm *norm, float *grad, const float *x,
                       float *rotated, const float *rstd, int heads, int64_t n)
{
    int64_t d = m->config.head_dim;
    w->pass.k->rope(grad, heads * d, w->cos_sin, w->pos, true, n, heads, m->config.head_dim);
    if (!m->config.qk_norm)
        return grad;
    layer_norm_backward(&w->pass, norm, heads, d, rotated, false, grad, x, rstd, n);
    return rotated;
}

/* q and k of this layer as attention saw them: made again from the projections when the scratch was used since. */
static void rotate_again(const struct layer_work *w, const struct model *m, const struct norm *norm, const float *x,
                         float *rotated, int heads, int64_t n)
{
    const struct model_config *c = &m->config;
    int64_t d = c->head_dim;
    w->pass.k->rmsnorm(rotated, d, NULL, x, d, norm->weight, false, (float)c->rms_eps, n * heads, d);
    w->pass.k->rope(rotated, heads * d, w->cos_sin, w->pos, false, n, heads, c->head_dim);
}

static void zero_tail(const struct layer_work *w, float *x, int64_t cols, int64_t used, int64_t n)
{
    if (n > used)
        w->pass.k->zero(x + used * cols, (size_t)((n - used) * cols) * sizeof *x);
}

/* dq, dk, dv from w->datt */
static void scores_backward(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept,
                            struct attention_seq *seq, int n_seq, int64_t n, int64_t used)
{
    const struct model_config *c = &m->config;
    const struct layer *ly = &m->layers[layer];
    if (c->qk_norm) {
        rotate_again(w, m, &ly->q_norm, kept->q, w->q_rot, c->heads, n);
        rotate_again(w, m, &ly->k_norm, kept->k, w->k_rot, c->kv_heads, n);
    }
    struct attention a = layer_attention(w, m, layer, kept);
    for (int s = 0; s < n_seq; s++) {
        int64_t at = seq[s].q_row * a.kv_stride;
        seq[s].k = layer_k(w, m, kept) + at;
        seq[s].v = kept->v + at;
        seq[s].dk = w->dk + at;
        seq[s].dv = w->dv + at;
    }
    a.n_seq = n_seq;
    a.seq = seq;
    a.dout = w->datt;
    a.dq = w->dq;
    w->pass.k->attention_backward(&a);
    zero_tail(w, w->dq, a.q_stride, used, n);
    zero_tail(w, w->dk, a.kv_stride, used, n);
    zero_tail(w, w->dv, a.kv_stride, used, n);
}

void layer_backward(const struct layer_work *w, const struct model *m, int layer, const float *x, struct layer_kept *kept,
                    struct attention_seq *seq, int n_seq, bool below, int64_t n, int64_t used)
{
    const struct layer *ly = &m->layers[layer];
    const struct model_config *c = &m->config;
    struct layer_wants t = layer_find_wants(ly, below);
    mlp_backward(w, m, ly, kept, &t, n);
    if (!t.attn)
        return;
    linear_backward(&w->pass, &ly->o, t.qkv ? w->datt : NULL, w->dx, kept->att, kept->low[LAYER_O], n);
    if (!t.qkv)
        return;
    scores_backward(w, m, layer, kept, seq, n_seq, n, used);
    float *dq = unrotate(w, m, &ly->q_norm, w->dq, kept->q, w->q_rot, kept->q_rstd, c->heads, n);
    float *dk = unrotate(w, m, &ly->k_norm, w->dk, kept->k, w->k_rot, kept->k_rstd, c->kv_heads, n);
    if (linear_needs_input(&ly->q) || linear_needs_input(&ly->k) || linear_needs_input(&ly->v))
        norm_again(w, m, &ly->attn_norm, x, n);
    float *dn = t.attn_in ? w->dn : NULL;
    const struct linear_from qkv[] = {{&ly->q, dq, kept->low[LAYER_Q]}, {&ly->k, dk, kept->low[LAYER_K]}, {&ly->v, w->dv, kept->low[LAYER_V]}};
    linear_backward_each(&w->pass, qkv, 3, dn, w->xn, n);
    if (t.attn_in)
        layer_norm_backward(&w->pass, &ly->attn_norm, 1, c->hidden, w->dx, true, dn, x, kept->rstd1, n);
}
