#include <math.h>

#include "model/layer.h"

struct linear *layer_linear(struct layer *ly, int i)
{
    struct linear *all[LAYER_LINEARS] = {&ly->q, &ly->k, &ly->v, &ly->o, &ly->gate, &ly->up, &ly->down};
    return all[i];
}

bool layer_trains(const struct layer *ly)
{
    const struct linear *all[LAYER_LINEARS] = {&ly->q, &ly->k, &ly->v, &ly->o, &ly->gate, &ly->up, &ly->down};
    for (int i = 0; i < LAYER_LINEARS; i++)
        if (linear_trains(all[i]))
            return true;
    return ly->attn_norm.pw || ly->mlp_norm.pw || ly->q_norm.pw || ly->k_norm.pw;
}

const float *layer_q(const struct layer_work *w, const struct model *m, const struct layer_kept *kept)
{
    return m->config.qk_norm ? w->q_rot : kept->q;
}

const float *layer_k(const struct layer_work *w, const struct model *m, const struct layer_kept *kept)
{
    return m->config.qk_norm ? w->k_rot : kept->k;
}

/* RMSNorm of every head where the model has it, then the rotation. */
static void rotate(const struct layer_work *w, const struct model *m, const struct norm *norm, float *x, float *rotated,
                   float *rstd, int heads, int64_t n)
{
    const struct model_config *c = &m->config;
    int64_t d = c->head_dim;
    if (c->qk_norm)
        w->pass.k->rmsnorm(rotated, d, rstd, x, d, norm->weight, false, (float)c->rms_eps, n * heads, d);
    w->pass.k->rope(c->qk_norm ? rotated : x, heads * d, w->cos_sin, w->pos, false, n, heads, c->head_dim);
}

void layer_before_attention(const struct layer_work *w, const struct model *m, int layer, const float *x,
                            struct layer_kept *kept, int64_t n)
{
    const struct model_config *c = &m->config;
    const struct layer *ly = &m->layers[layer];
    const struct kernels *k = w->pass.k;
    k->rmsnorm(w->xn, c->hidden, kept->rstd1, x, c->hidden, ly->attn_norm.weight, false, (float)c->rms_eps, n, c->hidden);
    const struct linear_to qkv[] = {{&ly->q, kept->q, kept->low[LAYER_Q]}, {&ly->k, kept->k, kept->low[LAYER_K]},
                                    {&ly->v, kept->v, kept->low[LAYER_V]}};
    linear_forward_each(&w->pass, qkv, 3, w->xn, n);
    rotate(w, m, &ly->q_norm, kept->q, w->q_rot, kept->q_rstd, c->heads, n);
    rotate(w, m, &ly->k_norm, kept->k, w->k_rot, kept->k_rstd, c->kv_heads, n);
}

struct attention layer_attention(const struct layer_work *w, const struct model *m, int layer, const struct layer_kept *kept)
{
    const struct model_config *c = &m->config;
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    return (struct attention){
        .q = layer_q(w, m, kept), .out = kept->att, .lse = kept->lse, .q_stride = q, .kv_stride = kv, .out_stride = q,
        .heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim,
        .window = model_config_window(c, layer), .scale = 1 / sqrtf((float)c->head_dim),
    };
}

void layer_after_attention(const struct layer_work *w, const struct model *m, int layer, const float *x,
                           struct layer_kept *kept, float *x_next, int64_t n)
{
    const struct model_config *c = &m->config;
    const struct layer *ly = &m->layers[layer];
    const struct kernels *k = w->pass.k;
    linear_forward(&w->pass, &ly->o, kept->x2, kept->att, kept->low[LAYER_O], n);
    k->add(kept->x2, x, n * c->hidden);
    k->rmsnorm(w->xn, c->hidden, kept->rstd2, kept->x2, c->hidden, ly->mlp_norm.weight, false, (float)c->rms_eps, n, c->hidden);
    const struct linear_to gate_up[] = {{&ly->gate, kept->gate, kept->low[LAYER_GATE]}, {&ly->up, kept->up, kept->low[LAYER_UP]}};
    linear_forward_each(&w->pass, gate_up, 2, w->xn, n);
    if (!x_next && !linear_kept_rank(&ly->down))
        return;
    k->swiglu(w->f, kept->gate, kept->up, n * c->ffn);
    if (!x_next) {
        linear_forward_low(&w->pass, &ly->down, w->f, kept->low[LAYER_DOWN], n);
        return;
    }
    linear_forward(&w->pass, &ly->down, x_next, w->f, kept->low[LAYER_DOWN], n);
    k->add(x_next, kept->x2, n * c->hidden);
}
