#include "model/lora_modules.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct linear_list {
    struct linear **items;
    size_t cap;
    int n;
};

static int add_linear(struct linear *l, void *arg)
{
    struct linear_list *list = arg;
    list->items = mem_grow(list->items, &list->cap, (size_t)list->n + 1, sizeof *list->items);
    list->items[list->n++] = l;
    return 0;
}

struct linear **lora_list_linears(struct model *m, int *n)
{
    struct linear_list list = {0};
    model_each_linear(m, true, add_linear, &list);
    *n = list.n;
    return list.items;
}

struct by_name {
    const char *name;
    size_t len;
    struct linear *found;
};

static int match_name(struct linear *l, void *arg)
{
    struct by_name *f = arg;
    if (strlen(l->module) != f->len || memcmp(l->module, f->name, f->len))
        return 0;
    f->found = l;
    return 1;
}

static struct linear *find(struct model *m, const char *name, size_t len)
{
    struct by_name f = {name, len, NULL};
    model_each_linear(m, true, match_name, &f);
    return f.found;
}

struct linear *lora_find_linear(struct model *m, const char *dir, const struct adapter_module *am, struct err *e)
{
    struct linear *l = find(m, am->module, strlen(am->module));
    if (!l || am->embedding) {
        err_set(e, "%s: module '%s' %s", dir, am->module, l || am->embedding ? "is an adapted embedding, which can be merged but not applied" : "is not in the model");
        return NULL;
    }
    if (am->a->shape[1] != l->in || am->b->shape[0] != l->out || am->a->shape[0] != am->rank || am->b->shape[1] != am->rank) {
        err_set(e, "%s: module '%s': A (%lld, %lld) and B (%lld, %lld) do not fit its weight (%lld, %lld) at rank %d", dir, am->module,
                (long long)am->a->shape[0], (long long)am->a->shape[1], (long long)am->b->shape[0], (long long)am->b->shape[1],
                (long long)l->out, (long long)l->in, am->rank);
        return NULL;
    }
    return l;
}

int lora_check_base(struct model *m, const struct adapter *a, struct err *e)
{
    int n;
    struct linear **linears = lora_list_linears(m, &n);
    struct adapter_quantized *list = mem_array(NULL, (size_t)n, sizeof *list);
    struct adapter_base b = {m->folder, m->config.tied, list, 0};
    for (int i = 0; i < n; i++)
        if (linears[i]->quantized)
            list[b.n_quantized++] = (struct adapter_quantized){linears[i]->module, linears[i]->out, linears[i]->in};
    int r = adapter_check_base(a, &b, e);
    free(list);
    free(linears);
    return r;
}

bool lora_is_bias(const struct adapter_extra *x)
{
    size_t n = strlen(x->name);
    return n > 5 && !strcmp(x->name + n - 5, ".bias");
}

static bool same_values(const struct linear *l, const struct st_tensor *t)
{
    bool same = l->weight && t->numel == l->out * l->in;
    float *x = mem_array(NULL, (size_t)l->in, sizeof *x), *y = mem_array(NULL, (size_t)l->in, sizeof *y);
    for (int64_t i = 0; i < l->out && same; i++) {
        dtype_to_f32(x, (const char *)l->weight + (size_t)(i * l->in) * dtype_size(l->type), l->type, (size_t)l->in);
        dtype_to_f32(y, (const char *)t->data + (size_t)(i * l->in) * dtype_size(t->type), t->type, (size_t)l->in);
        same = !memcmp(x, y, (size_t)l->in * sizeof *x);
    }
    free(x);
    free(y);
    return same;
}

int lora_check_copy(struct model *m, const char *dir, const struct adapter_extra *x, struct err *e)
{
    size_t n = strlen(x->name);
    const struct linear *l = NULL;
    if (n > 7 && !strcmp(x->name + n - 7, ".weight"))
        l = n == 25 && !strcmp(x->name, "model.embed_tokens.weight") ? &m->embed : find(m, x->name, n - 7);
    return l && same_values(l, x->tensor) ? 0 : err_set(e, "%s: '%s' replaces a weight of the base by another; merge this adapter first", dir, x->name);
}

struct linear *lora_find_bias(struct model *m, const char *dir, const struct adapter_extra *x, struct err *e)
{
    size_t n = strlen(x->name);
    struct linear *l = lora_is_bias(x) ? find(m, x->name, n - 5) : NULL;
    if (!l || !l->bias) {
        err_set(e, "%s: the model has no '%s'", dir, x->name);
        return NULL;
    }
    if (x->tensor->numel != l->out) {
        err_set(e, "%s: '%s' has %lld elements, the model's has %lld", dir, x->name, (long long)x->tensor->numel, (long long)l->out);
        return NULL;
    }
    return l;
}

void lora_append(struct lora **chain, struct lora *x)
{
    struct lora **at = chain;
    while (*at)
        at = &(*at)->next;
    *at = x;
}
