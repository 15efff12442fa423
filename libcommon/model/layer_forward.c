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

void layer_attention_input(const struct layer_work *w, const struct model *m, int layer, const float *x, struct layer_kept *kept, int64_t n)
{
    const struct model_config *c = &m->config;
    w->pass.k->rmsnorm(w->xn, c->hidden, kept->rstd1, x, c->hidden, m->layers[layer].attn_norm.weight, false, (float)c->rms_eps, n, c->hidden);
}

void layer_project(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept, int64_t n)
{
    const struct model_config *c = &m->config;
    const struct layer *ly = &m->layers[layer];
    const struct linear_to qkv[] = {{&ly->q, kept->q, kept->low[LAYER_Q]}, {&ly->k, kept->k, kept->low[LAYER_K]},
                                    {&ly->v, kept->v, kept->low[LAYER_V]}};
    linear_forward_each(&w->pass, qkv, 3, w->xn, n);
    rotate(w, m, &ly->q_norm, kept->q, w->q_rot, kept->q_rstd, c->heads, n);
    rotate(w, m, &ly->k_norm, kept->k, w->k_rot, kept->k_rstd, c->kv_heads, n);
}

void layer_before_attention(const struct layer_work *w, const struct model *m, int layer, const float *x,
                            struct layer_kept *kept, int64_t n)
{
    layer_attention_input(w, m, layer, x, kept, n);
    layer_project(w, m, layer, kept, n);
}

struct attention layer_attention(const struct layer_work *w, const struct model *m, int layer, const struct layer_kept *kept)
{
    const struct model_config *c = &m->config;
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    return (struct attention){
        .q = layer_q(w, m, kept), .out = kept->att, .lse = kept->lse, .q_stride = q, .kv_stride = kv, .out_stride = q,
        .heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim,
        .window = model_config_window(c, layer), .scale = 1 / sqrtf((float)c->head_dim), .round_bf16 = w->pass.bf16,
    };
}

void layer_attention_output(const struct layer_work *w, const struct model *m, int layer, const float *x, struct layer_kept *kept, int64_t n)
{
    const struct model_config *c = &m->config;
    const struct layer *ly = &m->layers[layer];
    linear_forward(&w->pass, &ly->o, kept->x2, kept->att, kept->low[LAYER_O], n);
    w->pass.k->add_rmsnorm(w->xn, kept->rstd2, kept->x2, x, ly->mlp_norm.weight, false, (float)c->rms_eps, n, c->hidden);
}

void layer_mlp_input(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept, int64_t n)
{
    const struct model_config *c = &m->config;
    w->pass.k->rmsnorm(w->xn, c->hidden, kept->rstd2, kept->x2, c->hidden, m->layers[layer].mlp_norm.weight, false, (float)c->rms_eps, n, c->hidden);
}

static void gate_and_up(const struct layer_work *w, const struct layer *ly, struct layer_kept *kept, int64_t n)
{
    const struct linear_to to[] = {{&ly->gate, kept->gate, kept->low[LAYER_GATE]}, {&ly->up, kept->up, kept->low[LAYER_UP]}};
    linear_forward_each(&w->pass, to, 2, w->xn, n);
}

void layer_hidden(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept, int64_t n)
{
    gate_and_up(w, &m->layers[layer], kept, n);
    w->pass.k->swiglu(w->f, kept->gate, kept->up, n * m->config.ffn);
}

void layer_mlp_output(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept, float *x_next, int64_t n)
{
    linear_forward(&w->pass, &m->layers[layer].down, x_next, w->f, kept->low[LAYER_DOWN], n);
    w->pass.k->add(x_next, kept->x2, n * m->config.hidden);
}

void layer_after_attention(const struct layer_work *w, const struct model *m, int layer, const float *x,
                           struct layer_kept *kept, float *x_next, int64_t n)
{
    const struct layer *ly = &m->layers[layer];
    layer_attention_output(w, m, layer, x, kept, n);
    if (!x_next && !linear_kept_rank(&ly->down)) {
        gate_and_up(w, ly, kept, n);
        return;
    }
    layer_hidden(w, m, layer, kept, n);
    if (x_next)
        layer_mlp_output(w, m, layer, kept, x_next, n);
    else
        linear_forward_low(&w->pass, &ly->down, w->f, kept->low[LAYER_DOWN], n);
}
