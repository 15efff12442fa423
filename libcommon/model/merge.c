/* Opening and planning a merge. */
#include "model/merge.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/manifest.h"
#include "model/merge_impl.h"

#define EMBEDDING "model.embed_tokens"
#define HEAD "lm_head"

static int check_tensor(const struct st_file *f, const struct st_tensor *t, struct err *e)
{
    size_t size = dtype_size(t->type);
    for (int64_t at = 0; at < t->numel; at += MERGE_CHUNK) {
        struct st_tensor part = *t;
        part.data = (const char *)t->data + (size_t)at * size;
        part.numel = t->numel - at < MERGE_CHUNK ? t->numel - at : MERGE_CHUNK;
        int64_t bad = manifest_find_nonfinite(&part);
        if (bad >= 0)
            return err_set(e, "%s: tensor '%s': element %lld is not a finite number", f->path, t->name, (long long)(at + bad));
        st_drop(f, part.data, (size_t)part.numel * size);
    }
    return 0;
}

static int check_finite(const struct adapter *a, struct err *e)
{
    for (int i = 0; i < a->file->n_tensors; i++)
        if (check_tensor(a->file, &a->file->tensors[i], e) < 0)
            return -1;
    return 0;
}

/* What it was trained with must be what it is merged into: the weights (adapter_check_base) and the tokenizer. */
static int check_tokenizer(const struct adapter *a, const char *dir, struct err *e)
{
    const char *text = st_meta(a->file, "finetools");
    char hex[SHA256_HEX];
    json_t *root = text ? json_loads(text, 0, NULL) : NULL;
    const char *want = json_string_value(json_object_get(root, "tokenizer"));
    int r = want ? model_folder_tokenizer_hash(dir, hex, e) : 0;
    if (r == 0 && want && hex[0] && strcmp(hex, want))
        r = err_set(e, "%s: trained with a tokenizer with hash %.16s, %s has %.16s", a->dir, want, dir, hex);
    json_decref(root);
    return r;
}

static int open_adapters(struct merge *m, const struct merge_options *o, struct err *e)
{
    m->adapters = mem_zalloc((size_t)o->n_adapters + 1, sizeof *m->adapters);
    m->weights = mem_zalloc((size_t)o->n_adapters + 1, sizeof *m->weights);
    for (int i = 0; i < o->n_adapters; i++) {
        struct adapter *a = adapter_open(o->adapters[i], e);
        if (!a)
            return -1;
        m->weights[i] = o->weights[i];
        m->adapters[m->n_adapters++] = a;
        if (adapter_check_base(a, m->model->folder, m->model->config.tied, e) < 0 || check_tokenizer(a, o->model, e) < 0 || check_finite(a, e) < 0)
            return -1;
    }
    return 0;
}

static const struct adapter_extra *find_extra(const struct adapter *a, const char *name)
{
    for (int i = 0; i < a->n_extras; i++)
        if (!strcmp(a->extras[i].name, name))
            return &a->extras[i];
    return NULL;
}

/* What the adapters do to the tensor `name`. */
static void find_changes(const struct merge *m, struct merge_item *item)
{
    size_t n = strlen(item->name), suffix = strlen(".weight");
    bool is_weight = n > suffix && !strcmp(item->name + n - suffix, ".weight");
    char *module = mem_strndup(item->name, is_weight ? n - suffix : n);
    item->terms = mem_zalloc((size_t)m->n_adapters + 1, sizeof *item->terms);
    item->extras = mem_zalloc((size_t)m->n_adapters + 1, sizeof *item->extras);
    for (int i = 0; i < m->n_adapters; i++) {
        const struct adapter_module *pair = is_weight ? adapter_find(m->adapters[i], module) : NULL;
        const struct adapter_extra *extra = find_extra(m->adapters[i], item->name);
        if (pair && m->weights[i] != 0)
            item->terms[item->n_terms++] = (struct merge_term){pair, m->adapters[i]->file, (float)(m->weights[i] * pair->scale)};
        if (extra && m->weights[i] != 0)
            item->extras[item->n_extras++] = (struct merge_extra){extra->tensor, m->adapters[i]->file, (float)m->weights[i]};
    }
    free(module);
}

static void add_item(struct merge *m, const char *name, const struct st_tensor *base, int type)
{
    struct merge_item *item = &m->items[m->n_items++];
    bool real = base->type == DTYPE_F32 || base->type == DTYPE_F16 || base->type == DTYPE_BF16;
    *item = (struct merge_item){.name = mem_strdup(name), .base = base, .type = real && type >= 0 ? (enum dtype)type : base->type};
    find_changes(m, item);
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

static const char *torch_name(int type)
{
    return type == DTYPE_F32 ? "float32" : type == DTYPE_F16 ? "float16" : "bfloat16";
}

static void make_plan(struct merge *m, int type)
{
    const struct model_folder *f = m->model->folder;
    struct merge_plan *p = &m->plan;
    p->untied = m->model->config.tied && changes_tied(m);
    p->warning = m->model->warning;
    if (type >= 0 && type != m->model->config.stored_type)
        p->type = torch_name(type);
    m->items = mem_zalloc((size_t)f->n_tensors + 1, sizeof *m->items);
    for (int i = 0; i < f->n_tensors; i++)
        if (!p->untied || strcmp(f->tensors[i]->name, HEAD ".weight"))
            add_item(m, f->tensors[i]->name, f->tensors[i], type);
    if (p->untied)
        add_item(m, HEAD ".weight", model_folder_find(f, EMBEDDING ".weight"), type);
    qsort(m->items, (size_t)m->n_items, sizeof *m->items, by_name);
    for (int i = 0; i < m->n_items; i++) {
        const struct merge_item *item = &m->items[i];
        int64_t bytes = item->type == item->base->type ? (int64_t)item->base->size : item->base->numel * (int64_t)dtype_size(item->type);
        p->bytes += bytes;
        p->largest = bytes > p->largest ? bytes : p->largest;
        p->n_changed += item->n_terms > 0 || item->n_extras > 0;
    }
    p->n_tensors = m->n_items;
}

/* Of the files that carry checksums; their tensors are compared as they are read. */
static int check_headers(const struct model_folder *f, struct err *e)
{
    for (int i = 0; i < f->n_shards; i++)
        if (st_verify_header(f->shards[i], e) < 0)
            return -1;
    return 0;
}

struct merge *merge_open(const struct merge_options *o, struct err *e)
{
    struct merge *m = mem_zalloc(1, sizeof *m);
    const struct kernels *k = kernels_open("cpu", e);
    m->max_shard = o->max_shard;
    if (k && (m->model = model_open(o->model, k, e)) && check_headers(m->model->folder, e) == 0 && open_adapters(m, o, e) == 0) {
        make_plan(m, o->type);
        return m;
    }
    merge_close(m);
    return NULL;
}

struct merge_plan merge_plan(const struct merge *m)
{
    return m->plan;
}

void merge_close(struct merge *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->n_items; i++) {
        free(m->items[i].name);
        free(m->items[i].terms);
        free(m->items[i].extras);
    }
    for (int i = 0; i < m->n_adapters; i++)
        adapter_close(m->adapters[i]);
    if (m->model)
        model_close(m->model);
    free(m->items);
    free(m->adapters);
    free(m->weights);
    free(m);
}
