/* What becomes of each tensor. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/lora_modules.h"
#include "model/merge_impl.h"

#define EMBEDDING "model.embed_tokens"
#define HEAD "lm_head"

static const struct adapter_extra *find_extra(const struct adapter *a, const char *name)
{
    for (int i = 0; i < a->n_extras; i++)
        if (!strcmp(a->extras[i].name, name))
            return &a->extras[i];
    return NULL;
}

/* What the adapters do to the tensor `name`, the weight of `module` (NULL: no weight). */
static void find_changes(const struct merge *m, struct merge_item *item, const char *name, const char *module)
{
    item->terms = mem_zalloc((size_t)m->n_adapters + 1, sizeof *item->terms);
    item->extras = mem_zalloc((size_t)m->n_adapters + 1, sizeof *item->extras);
    for (int i = 0; i < m->n_adapters; i++) {
        const struct adapter_module *pair = module ? adapter_find(m->adapters[i], module) : NULL;
        const struct adapter_extra *extra = find_extra(m->adapters[i], name);
        if (pair && m->weights[i] != 0)
            item->terms[item->n_terms++] = (struct merge_term){pair, m->adapters[i]->file, (float)(m->weights[i] * pair->scale)};
        if (extra && m->weights[i] != 0)
            item->extras[item->n_extras++] = (struct merge_extra){extra->tensor, m->adapters[i]->file, (float)m->weights[i]};
    }
}

static struct merge_item *new_item(struct merge *m, const char *name)
{
    struct merge_item *item = &m->items[m->n_items++];
    *item = (struct merge_item){.name = mem_strdup(name)};
    return item;
}

static void add_tensor(struct merge *m, const char *name, const struct st_tensor *base, int type)
{
    struct merge_item *item = new_item(m, name);
    bool real = base->type == DTYPE_F32 || base->type == DTYPE_F16 || base->type == DTYPE_BF16;
    size_t n = strlen(name), suffix = strlen(".weight");
    bool is_weight = n > suffix && !strcmp(name + n - suffix, ".weight");
    char *module = is_weight ? mem_strndup(name, n - suffix) : NULL;
    item->base = base;
    item->type = real && type >= 0 ? (enum dtype)type : base->type;
    item->columns = base->ndim == 2 ? base->shape[1] : base->numel;
    item->rows = base->ndim == 2 ? base->shape[0] : 1;
    find_changes(m, item, name, module);
    free(module);
}

/* ---- quantized weights ---- */

/* A weight that is stored quantized, and its tensors. */
struct stored {
    const struct linear *l;
    const struct st_tensor *tensors[QUANTIZED_TENSORS_MAX];
    int n;
};

static void fill(struct merge *m, struct merge_item *item, const struct stored *w)
{
    char *name = mem_printf("%s.weight", w->l->module);
    item->quantized = w->l->quantized;
    item->rows = w->l->out;
    item->columns = w->l->in;
    memcpy(item->sources, w->tensors, sizeof item->sources);
    item->n_sources = w->n;
    find_changes(m, item, name, w->l->module);
    free(name);
}

/* The values and what is added to them, as one plain tensor. */
static void add_values(struct merge *m, const struct stored *w, int type)
{
    char *name = mem_printf("%s.weight", w->l->module);
    struct merge_item *item = new_item(m, name);
    item->type = (enum dtype)type;
    fill(m, item, w);
    free(name);
}

/* The tensors as they are, but codes and scales of a weight that changes. */
static void add_parts(struct merge *m, const struct stored *w)
{
    for (int i = 0; i < w->n; i++) {
        const struct st_tensor *t = w->tensors[i];
        const struct quantized *q = w->l->quantized;
        bool scales_change = q->kind == QUANTIZED_INT8 || q->kind == QUANTIZED_NF4 || q->kind == QUANTIZED_FP4;
        enum merge_part part = t->data == q->codes ? MERGE_CODES : t->data == q->scales && scales_change ? MERGE_SCALES : MERGE_WHOLE;
        struct merge_item *item = new_item(m, t->name);
        fill(m, item, w);
        item->base = t;
        item->type = t->type;
        item->packed = part == MERGE_CODES;
        if (part != MERGE_WHOLE && item->n_terms) {
            item->part = part;
            item->type = DTYPE_F32;
        } else {
            item->n_terms = 0;
            item->quantized = NULL;
        }
    }
}

struct gather {
    struct merge *m;
    struct stored *list;
    int n;
    struct err *e;
};

static int gather(struct linear *l, void *arg)
{
    struct gather *g = arg;
    struct stored *w = &g->list[g->n];
    struct quantized same;
    if (!l->quantized)
        return 0;
    w->l = l;
    g->n++;
    return quantized_tensors_find(&same, w->tensors, &w->n, g->m->into->folder, &g->m->into->quantized, l->module, l->out, l->in, g->e) < 0 ? -1 : 0;
}

/* Part of a quantized weight, or the bias of zeros that some tools give to modules without one, which plain models have no place for. */
static bool is_of(const struct stored *w, const struct st_tensor *t, bool requantize)
{
    size_t n = strlen(w->l->module);
    for (int i = 0; i < w->n; i++)
        if (w->tensors[i] == t)
            return true;
    return !requantize && !w->l->bias && !strncmp(t->name, w->l->module, n) && !strcmp(t->name + n, ".bias");
}

static int add_quantized(struct merge *m, struct gather *g, int type)
{
    int plain = type >= 0 ? type : m->into->config.stored_type;
    bool real = plain == DTYPE_F32 || plain == DTYPE_F16 || plain == DTYPE_BF16;
    for (int i = 0; i < g->n; i++) {
        if (m->requantize)
            add_parts(m, &g->list[i]);
        else
            add_values(m, &g->list[i], real ? plain : DTYPE_BF16);
    }
    return real ? -1 : DTYPE_BF16;
}

/* Does any adapter change one of the two names of a tied matrix? */
static bool changes_tied(const struct merge *m)
{
    for (int i = 0; i < m->n_adapters; i++) {
        const struct adapter *a = m->adapters[i];
        if (m->weights[i] != 0 && (adapter_find(a, HEAD) || adapter_find(a, EMBEDDING) || find_extra(a, HEAD ".weight") ||
                                   find_extra(a, EMBEDDING ".weight")))
            return true;
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct merge_item *)a)->name, ((const struct merge_item *)b)->name);
}

static void add_all(struct merge *m, const struct gather *g, int type)
{
    const struct model_folder *f = m->into->folder;
    for (int i = 0; i < f->n_tensors; i++) {
        const struct st_tensor *t = f->tensors[i];
        bool own = false;
        for (int k = 0; k < g->n && !own; k++)
            own = is_of(&g->list[k], t, m->requantize);
        if (!own && !(m->plan.untied && !strcmp(t->name, HEAD ".weight")))
            add_tensor(m, t->name, t, type);
    }
    if (m->plan.untied)
        add_tensor(m, HEAD ".weight", model_folder_find(f, EMBEDDING ".weight"), type);
}

static void count(struct merge_plan *p, const struct merge_item *item)
{
    int64_t n = item->rows * item->columns;
    int64_t bytes = item->base && (item->part != MERGE_WHOLE || item->type == item->base->type) ? (int64_t)item->base->size : n * (int64_t)dtype_size(item->type);
    int64_t module = item->part == MERGE_WHOLE ? 0 : n * (int64_t)sizeof(float) + bytes;
    p->bytes += bytes;
    p->largest = bytes > p->largest ? bytes : p->largest;
    p->module = module > p->module ? module : p->module;
    p->n_changed += item->n_terms > 0 || item->n_extras > 0;
    p->n_tensors++;
}

int merge_list(struct merge *m, int type, struct err *e)
{
    int n;
    struct linear **linears = lora_list_linears(m->into, &n);
    struct gather g = {m, mem_zalloc((size_t)n, sizeof *g.list), 0, e};
    struct merge_plan *p = &m->plan;
    free(linears);
    p->untied = m->into->config.tied && changes_tied(m);
    p->warning = m->into->warning;
    for (int i = 0; i < m->n_adapters; i++)
        p->aware |= m->adapters[i]->merge_aware && !m->requantize;
    int r = model_each_linear(m->into, !m->into->config.tied, gather, &g);
    if (r == 0) {
        m->items = mem_zalloc((size_t)m->into->folder->n_tensors + (size_t)g.n + 1, sizeof *m->items);
        int other = add_quantized(m, &g, type);
        int now = type >= 0 ? type : g.n && !m->requantize ? other : -1;
        if (now >= 0 && now != m->into->config.stored_type)
            p->type = dtype_torch_name(now);
        add_all(m, &g, type);
        qsort(m->items, (size_t)m->n_items, sizeof *m->items, by_name);
        for (int i = 0; i < m->n_items; i++)
            count(p, &m->items[i]);
    }
    free(g.list);
    return r;
}
