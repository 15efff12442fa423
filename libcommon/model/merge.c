/* Opening and planning a merge. */
#include "model/merge.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/manifest.h"
#include "model/layer.h"
#include "model/lora_modules.h"
#include "model/merge_impl.h"

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

/* What it was trained with must be what it is merged into: the weights (lora_check_base) and the tokenizer. */
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
        if (lora_check_base(m->model, a, e) < 0 || check_tokenizer(a, o->model, e) < 0 || check_finite(a, e) < 0)
            return -1;
    }
    return 0;
}

/* Of the files that carry checksums; their tensors are compared as they are read. */
static int check_headers(const struct model_folder *f, struct err *e)
{
    for (int i = 0; i < f->n_shards; i++)
        if (st_verify_header(f->shards[i], e) < 0)
            return -1;
    return 0;
}

/* AWQ, which divides a norm's weights and multiplies those of the linears behind it, gives the adapters other inputs than they have here; and a norm
 * tells models apart. */
static int check_norm(const struct merge *m, const struct norm *n, const struct norm *other, struct err *e)
{
    for (int64_t i = 0; n->weight && i < m->model->config.hidden; i++)
        if (!(fabsf(n->weight[i] - other->weight[i]) <= 0x1p-7f * fabsf(other->weight[i]) + 1e-6f))
            return err_set(e, "%s: tensor '%s': element %lld is %g, that of %s is %g: it was not quantized from this model, or its channels were scaled (AWQ)",
                           m->into->folder->dir, n->name, (long long)i, (double)other->weight[i], m->model->folder->dir, (double)n->weight[i]);
    return 0;
}

/* What the quantized model must have been quantized from. */
static int check_base16(const struct merge *m, struct err *e)
{
    const struct model_config *a = &m->model->config, *b = &m->into->config;
    const struct { const char *name; int64_t x, y; } sizes[] = {
        {"vocab_size", a->vocab, b->vocab}, {"hidden_size", a->hidden, b->hidden}, {"intermediate_size", a->ffn, b->ffn},
        {"num_hidden_layers", a->layers, b->layers}, {"num_attention_heads", a->heads, b->heads}, {"num_key_value_heads", a->kv_heads, b->kv_heads},
        {"head_dim", a->head_dim, b->head_dim}};
    if (m->into->quantized.method != QUANTIZED_NONE)
        return err_set(e, "%s: is quantized (%s), expected the model from which %s was", m->into->folder->dir, quantized_method_name(m->into->quantized.method),
                       m->model->folder->dir);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].x != sizes[i].y)
            return err_set(e, "%s: %s is %lld, that of %s is %lld", m->into->folder->dir, sizes[i].name, (long long)sizes[i].y, m->model->folder->dir,
                           (long long)sizes[i].x);
    for (int i = 0; i < a->layers; i++) {
        const struct layer *x = &m->model->layers[i], *y = &m->into->layers[i];
        if (check_norm(m, &x->attn_norm, &y->attn_norm, e) < 0 || check_norm(m, &x->mlp_norm, &y->mlp_norm, e) < 0)
            return -1;
    }
    return check_norm(m, &m->model->norm, &m->into->norm, e);
}

/* The model that is changed, and whether it can be as the options want. */
static int open_into(struct merge *m, const struct merge_options *o, struct err *e)
{
    m->into = m->model;
    m->requantize = o->requantize;
    if ((o->base16 || o->requantize) && m->model->quantized.method == QUANTIZED_NONE)
        return err_set(e, "%s: is not quantized, which %s expects", o->model, o->base16 ? "--base16" : "--requantize");
    if (!o->base16)
        return 0;
    m->into = model_open(o->base16, m->model->k, e);
    if (!m->into || check_base16(m, e) < 0 || check_headers(m->into->folder, e) < 0)
        return -1;
    for (int i = 0; i < m->n_adapters; i++)
        if (check_tokenizer(m->adapters[i], o->base16, e) < 0)
            return -1;
    return 0;
}

struct merge *merge_open(const struct merge_options *o, struct err *e)
{
    struct merge *m = mem_zalloc(1, sizeof *m);
    const struct kernels *k = kernels_open("cpu", e);
    m->max_shard = o->max_shard;
    if (k && (m->model = model_open(o->model, k, e)) && check_headers(m->model->folder, e) == 0 && open_adapters(m, o, e) == 0 &&
        open_into(m, o, e) == 0 && merge_list(m, o->type, e) == 0)
        return m;
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
    if (m->into != m->model)
        model_close(m->into);
    model_close(m->model);
    free(m->items);
    free(m->adapters);
    free(m->weights);
    free(m);
}
