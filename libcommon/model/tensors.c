#include "model/tensors.h"

#include <stdlib.h>

#include "base/mem.h"

struct list {
    struct model_tensor *items;
    size_t cap;
    int n;
};

static void add(struct list *s, struct model_tensor t)
{
    s->items = mem_grow(s->items, &s->cap, (size_t)s->n + 1, sizeof *s->items);
    s->items[s->n++] = t;
}

static int add_linear(struct linear *l, void *arg)
{
    add(arg, (struct model_tensor){mem_printf("%s.weight", l->module), TENSOR_WEIGHT, l, NULL, 2, l->out, l->in});
    if (l->bias)
        add(arg, (struct model_tensor){mem_printf("%s.bias", l->module), TENSOR_BIAS, l, NULL, 1, l->out, 1});
    return 0;
}

static void add_norm(struct list *s, struct norm *norm, int64_t size)
{
    if (norm->weight)
        add(s, (struct model_tensor){mem_strdup(norm->name), TENSOR_NORM, NULL, norm, 1, size, 1});
}

struct model_tensor *model_list_tensors(struct model *m, int *n)
{
    struct list s = {0};
    add_linear(&m->embed, &s);
    model_each_linear(m, !m->config.tied, add_linear, &s);
    for (int i = 0; i < m->config.layers; i++) {
        add_norm(&s, &m->layers[i].attn_norm, m->config.hidden);
        add_norm(&s, &m->layers[i].mlp_norm, m->config.hidden);
        add_norm(&s, &m->layers[i].q_norm, m->config.head_dim);
        add_norm(&s, &m->layers[i].k_norm, m->config.head_dim);
    }
    add_norm(&s, &m->norm, m->config.hidden);
    *n = s.n;
    return s.items;
}

void model_free_tensors(struct model_tensor *t, int n)
{
    for (int i = 0; i < n; i++)
        free(t[i].name);
    free(t);
}
