/* Parameters made by hand, for tests of the decoder: f32 masters of every tensor, or gradients for every LoRA pair. */
#ifndef TINY_TRAIN_H
#define TINY_TRAIN_H

#include "tests/unit/tiny_model.h"

#define TINY_PARAMS 500

struct tiny_params {
    struct param *p[TINY_PARAMS];
    int n;
    struct model *m;
};

static struct param *tiny_param(struct tiny_params *t, const char *name, const char *suffix, int64_t rows, int64_t cols)
{
    struct param *p = mem_zalloc(1, sizeof *p);
    if (t->n == TINY_PARAMS)
        abort();
    t->p[t->n++] = p;
    p->name = mem_printf("%s%s", name, suffix);
    p->numel = rows * (cols ? cols : 1);
    p->ndim = cols ? 2 : 1;
    p->shape[0] = rows;
    p->shape[1] = cols;
    p->grad = mem_zalloc((size_t)p->numel, sizeof *p->grad);
    return p;
}

static int tiny_train_linear(struct linear *l, void *arg)
{
    struct tiny_params *t = arg;
    l->pw = tiny_param(t, l->module, ".weight", l->out, l->in);
    l->pw->value = mem_array(NULL, (size_t)l->pw->numel, sizeof *l->pw->value);
    dtype_to_f32(l->pw->value, l->weight, l->type, (size_t)l->pw->numel);
    l->weight = l->pw->value;
    l->type = DTYPE_F32;
    if (l->bias) {
        l->pbias = tiny_param(t, l->module, ".bias", l->out, 0);
        l->pbias->value = l->bias;
    }
    return 0;
}

static void tiny_train_norm(struct tiny_params *t, struct norm *n, int64_t size)
{
    if (!n->weight)
        return;
    n->pw = tiny_param(t, n->name, "", size, 0);
    n->pw->value = n->weight;
}

/* Every tensor is trained. Biases and norms are trained in place. */
__attribute__((unused)) static void tiny_train_all(struct tiny_params *t, struct model *m)
{
    t->m = m;
    tiny_train_linear(&m->embed, t);
    model_each_linear(m, false, tiny_train_linear, t);
    tiny_train_norm(t, &m->norm, m->config.hidden);
    for (int i = 0; i < m->config.layers; i++) {
        tiny_train_norm(t, &m->layers[i].attn_norm, m->config.hidden);
        tiny_train_norm(t, &m->layers[i].mlp_norm, m->config.hidden);
        tiny_train_norm(t, &m->layers[i].q_norm, m->config.head_dim);
        tiny_train_norm(t, &m->layers[i].k_norm, m->config.head_dim);
    }
    if (!m->config.tied) {
        tiny_train_linear(&m->head, t);
        return;
    }
    m->head.pw = m->embed.pw;
    m->head.weight = m->embed.weight;
    m->head.type = m->embed.type;
}

__attribute__((unused)) static void tiny_train_pair(struct tiny_params *t, struct linear *l, struct lora *a)
{
    a->pa = tiny_param(t, l->module, ".lora_A.weight", a->rank, l->in);
    a->pb = tiny_param(t, l->module, ".lora_B.weight", l->out, a->rank);
    a->pa->value = a->a;
    a->pb->value = a->b;
}

/* A trained pair of rank 2, alpha 5, on every linear of the layers. */
static int tiny_train_lora_linear(struct linear *l, void *arg)
{
    struct tiny_params *t = arg;
    struct lora *a = tiny_lora_add(t->m, l, 2, 2.5f);
    a->stream = (uint64_t)t->n;
    tiny_train_pair(t, l, a);
    return 0;
}

__attribute__((unused)) static void tiny_train_lora(struct tiny_params *t, struct model *m)
{
    t->m = m;
    model_each_linear(m, false, tiny_train_lora_linear, t);
}

__attribute__((unused)) static void tiny_zero_grad(struct tiny_params *t)
{
    for (int i = 0; i < t->n; i++)
        memset(t->p[i]->grad, 0, (size_t)t->p[i]->numel * sizeof *t->p[i]->grad);
}

/* Frees the parameters, and the masters of matrices (before model_close, which frees norms, biases and pairs). */
__attribute__((unused)) static void tiny_params_release(struct tiny_params *t)
{
    for (int i = 0; i < t->n; i++) {
        if (tiny_ends(t->p[i]->name, ".weight") && t->p[i]->ndim == 2 && !strstr(t->p[i]->name, ".lora_"))
            free(t->p[i]->value);
        free(t->p[i]->name);
        free(t->p[i]->grad);
        free(t->p[i]);
    }
    t->n = 0;
}

/* A decoder with its memory. */
struct tiny_decoder {
    struct decoder *d;
    struct arena a;
};

__attribute__((unused)) static void tiny_decoder_make(struct tiny_decoder *t, struct model *m, int64_t rows, int seqs,
                                                      bool backward, bool recompute)
{
    struct err e = ERR_INIT;
    t->d = decoder_new(m, rows, seqs, backward, recompute);
    arena_init(&t->a);
    decoder_layout(t->d, &t->a);
    if (model_place_weights(m, &e) || arena_commit(&t->a, m->k->alloc, m->k->free, &e))
        tiny_die(&e);
    decoder_layout(t->d, &t->a);
}

__attribute__((unused)) static void tiny_decoder_release(struct tiny_decoder *t)
{
    decoder_free(t->d);
    arena_release(&t->a);
}

#endif
