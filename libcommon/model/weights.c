/* The table of tensor names, and the binding of a model folder's tensors to it. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/model_folder.h"
#include "format/quantized_tensors.h"
#include "model/layer.h"
#include "model/lora_grid.h"
#include "model/model.h"
#include "model/weights_tie.h"

enum dim { DIM_NONE, DIM_HIDDEN, DIM_FFN, DIM_Q, DIM_KV, DIM_HEAD };
enum bias { BIAS_QKV, BIAS_O, BIAS_MLP };

/* Names below "model.layers.N."; the families of config.c agree on them. */
static const struct linear_slot { const char *name; enum dim out, in; enum bias bias; } LINEARS[LAYER_LINEARS] = {
    {"self_attn.q_proj", DIM_Q, DIM_HIDDEN, BIAS_QKV}, {"self_attn.k_proj", DIM_KV, DIM_HIDDEN, BIAS_QKV},
    {"self_attn.v_proj", DIM_KV, DIM_HIDDEN, BIAS_QKV}, {"self_attn.o_proj", DIM_HIDDEN, DIM_Q, BIAS_O},
    {"mlp.gate_proj", DIM_FFN, DIM_HIDDEN, BIAS_MLP}, {"mlp.up_proj", DIM_FFN, DIM_HIDDEN, BIAS_MLP},
    {"mlp.down_proj", DIM_HIDDEN, DIM_FFN, BIAS_MLP},
};

const char *layer_linear_name(int i)
{
    return strrchr(LINEARS[i].name, '.') + 1;
}

static const struct norm_slot { const char *name; size_t offset; enum dim size; bool qk; } NORMS[] = {
    {"input_layernorm.weight", offsetof(struct layer, attn_norm), DIM_HIDDEN, false},
    {"post_attention_layernorm.weight", offsetof(struct layer, mlp_norm), DIM_HIDDEN, false},
    {"self_attn.q_norm.weight", offsetof(struct layer, q_norm), DIM_HEAD, true},
    {"self_attn.k_norm.weight", offsetof(struct layer, k_norm), DIM_HEAD, true},
};
enum { N_NORMS = sizeof NORMS / sizeof *NORMS };

/* Stored in some files and not needed: buffers that are computed, and the output layer of a tied model. */
static bool is_ignored(const struct model *m, const char *name)
{
    static const char buffer[] = ".self_attn.rotary_emb.inv_freq";
    size_t n = strlen(name), b = sizeof buffer - 1;
    return (n > b && !strcmp(name + n - b, buffer)) || (m->config.tied && !strcmp(name, "lm_head.weight"));
}

static int64_t dim_size(const struct model_config *c, enum dim d)
{
    switch (d) {
    case DIM_HIDDEN: return c->hidden;
    case DIM_FFN: return c->ffn;
    case DIM_Q: return (int64_t)c->heads * c->head_dim;
    case DIM_KV: return (int64_t)c->kv_heads * c->head_dim;
    case DIM_HEAD: return c->head_dim;
    case DIM_NONE: break;
    }
    return 0;
}

static bool has_bias(const struct model_config *c, enum bias b)
{
    return b == BIAS_QKV ? c->qkv_bias : b == BIAS_O ? c->o_bias : c->mlp_bias;
}

static struct norm *layer_norm(struct layer *ly, int i)
{
    return (struct norm *)((char *)ly + NORMS[i].offset);
}

static float *new_vector(const struct kernels *k, int64_t n, struct err *e)
{
    return k->alloc((size_t)n * sizeof(float), e);
}

/* Names and shapes of one layer; vectors are allocated, weights are not. */
static int layer_init(struct model *m, int index, struct err *e)
{
    const struct model_config *c = &m->config;
    struct layer *ly = &m->layers[index];
    for (int i = 0; i < LAYER_LINEARS; i++) {
        struct linear *l = layer_linear(ly, i);
        l->module = mem_printf("model.layers.%d.%s", index, LINEARS[i].name);
        l->out = dim_size(c, LINEARS[i].out);
        l->in = dim_size(c, LINEARS[i].in);
        if (has_bias(c, LINEARS[i].bias) && !(l->bias = new_vector(m->k, l->out, e)))
            return -1;
    }
    for (int i = 0; i < N_NORMS; i++) {
        struct norm *n = layer_norm(ly, i);
        if (NORMS[i].qk && !c->qk_norm)
            continue;
        n->name = mem_printf("model.layers.%d.%s", index, NORMS[i].name);
        if (!(n->weight = new_vector(m->k, dim_size(c, NORMS[i].size), e)))
            return -1;
    }
    return 0;
}

struct model *model_new(struct model_config *config, const struct kernels *k, struct err *e)
{
    struct model *m = mem_zalloc(1, sizeof *m);
    m->config = *config;
    memset(config, 0, sizeof *config);
    m->k = k;
    m->layers = mem_zalloc((size_t)m->config.layers, sizeof *m->layers);
    m->embed.module = mem_strdup("model.embed_tokens");
    m->head.module = mem_strdup("lm_head");
    m->embed.out = m->head.out = m->config.vocab;
    m->embed.in = m->head.in = m->config.hidden;
    m->norm.name = mem_strdup("model.norm.weight");
    m->norm.weight = new_vector(k, m->config.hidden, e);
    int rc = m->norm.weight ? 0 : -1;
    for (int i = 0; i < m->config.layers && !rc; i++)
        rc = layer_init(m, i, e);
    if (!rc)
        return m;
    model_close(m);
    return NULL;
}

struct binder {
    struct model *m;
    const struct st_tensor **used; /* by name after check_extra has sorted them */
    size_t n_used, cap;
    struct err *e;
};

static int bad_shape(struct binder *b, const struct st_tensor *t, int64_t rows, int64_t cols)
{
    char found[ST_SHAPE_TEXT], expected[60];
    snprintf(expected, sizeof expected, cols ? "[%lld, %lld]" : "[%lld]", (long long)rows, (long long)cols);
    return err_set(b->e, "%s: tensor '%s': found %s, expected shape %s", b->m->folder->dir, t->name, st_shape_text(t, found), expected);
}

static void add_used(struct binder *b, const struct st_tensor *t)
{
    b->used = mem_grow(b->used, &b->cap, b->n_used + 1, sizeof *b->used);
    b->used[b->n_used++] = t;
}

/* A tensor of shape (rows, cols), or (rows) when cols is 0. */
static const struct st_tensor *bind(struct binder *b, const char *name, int64_t rows, int64_t cols)
{
    const struct st_tensor *t = model_folder_find(b->m->folder, name);
    if (!t) {
        err_set(b->e, "%s: tensor '%s' is missing, expected as config.json describes the model", b->m->folder->dir, name);
        return NULL;
    }
    if (t->ndim != (cols ? 2 : 1) || t->shape[0] != rows || (cols && t->shape[1] != cols)) {
        bad_shape(b, t, rows, cols);
        return NULL;
    }
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16) {
        err_set(b->e, "%s: tensor '%s': found type %s, expected F32, F16 or BF16", b->m->folder->dir, name, t->type_name);
        return NULL;
    }
    add_used(b, t);
    return t;
}

static int bind_vector(struct binder *b, float *to, const char *name, int64_t n)
{
    const struct st_tensor *t = bind(b, name, n, 0);
    if (!t)
        return -1;
    float *host = mem_array(NULL, (size_t)n, sizeof *host);
    dtype_to_f32(host, t->data, t->type, (size_t)n);
    b->m->k->copy_in(to, host, (size_t)n * sizeof *host);
    free(host);
    return 0;
}

/* Older tools of GPTQ give every module a bias, of zeros where the model has none. */
static void use_zero_bias(struct binder *b, const struct linear *l, const char *name)
{
    static const unsigned char zeros[1 << 10];
    const struct st_tensor *t = model_folder_find(b->m->folder, name);
    bool zero = t && t->ndim == 1 && t->shape[0] == l->out;
    for (uint64_t at = 0; zero && at < t->size; at += sizeof zeros)
        zero = !memcmp((const char *)t->data + at, zeros, t->size - at < sizeof zeros ? t->size - at : sizeof zeros);
    if (zero)
        add_used(b, t);
}

/* 1: the module's weight is quantized. */
static int bind_quantized(struct binder *b, struct linear *l)
{
    const struct st_tensor *used[QUANTIZED_TENSORS_MAX];
    struct quantized q;
    int n, r = quantized_tensors_find(&q, used, &n, b->m->folder, &b->m->quantized, l->module, l->out, l->in, b->e);
    if (r <= 0)
        return r;
    for (int i = 0; i < n; i++)
        add_used(b, used[i]);
    l->quantized = mem_alloc(sizeof *l->quantized);
    *l->quantized = q;
    return 1;
}

static int bind_plain(struct binder *b, struct linear *l)
{
    char *name = mem_printf("%s.weight", l->module);
    const struct st_tensor *t = bind(b, name, l->out, l->in);
    free(name);
    if (!t)
        return -1;
    l->weight = t->data;
    l->type = t->type;
    return 0;
}

static int bind_linear(struct binder *b, struct linear *l)
{
    int r = l == &b->m->embed ? 0 : bind_quantized(b, l);
    if (r < 0 || (!r && bind_plain(b, l)))
        return -1;
    char *bias = mem_printf("%s.bias", l->module);
    r = l->bias ? bind_vector(b, l->bias, bias, l->out) : 0;
    if (!l->bias && l->quantized && l->quantized->kind == QUANTIZED_GPTQ)
        use_zero_bias(b, l, bias);
    free(bias);
    return r;
}

static int bind_layer(struct binder *b, struct layer *ly)
{
    for (int i = 0; i < LAYER_LINEARS; i++)
        if (bind_linear(b, layer_linear(ly, i)))
            return -1;
    for (int i = 0; i < N_NORMS; i++) {
        struct norm *n = layer_norm(ly, i);
        if (n->weight && bind_vector(b, n->weight, n->name, dim_size(&b->m->config, NORMS[i].size)))
            return -1;
    }
    return 0;
}

static int compare_tensors(const void *a, const void *b)
{
    const struct st_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int check_extra(struct binder *b)
{
    const struct model_folder *f = b->m->folder;
    qsort(b->used, b->n_used, sizeof *b->used, compare_tensors);
    for (int i = 0; i < f->n_tensors; i++)
        if (!bsearch(&f->tensors[i], b->used, b->n_used, sizeof *b->used, compare_tensors) && !is_ignored(b->m, f->tensors[i]->name))
            return err_set(b->e, "%s: tensor '%s' has no place in a model of type %s as config.json describes it", f->dir,
                           f->tensors[i]->name, b->m->config.type);
    return 0;
}

static int bind_all(struct binder *b)
{
    struct model *m = b->m;
    if (bind_linear(b, &m->embed) || bind_vector(b, m->norm.weight, m->norm.name, m->config.hidden))
        return -1;
    for (int i = 0; i < m->config.layers; i++)
        if (bind_layer(b, &m->layers[i]))
            return -1;
    if (m->config.tied) {
        m->head.weight = m->embed.weight;
        m->head.type = m->embed.type;
    } else if (bind_linear(b, &m->head)) {
        return -1;
    }
    return check_extra(b);
}

struct model *model_open(const char *dir, const struct kernels *k, struct err *e)
{
    struct model_config config;
    if (model_config_read(&config, dir, e))
        return NULL;
    struct model *m = model_new(&config, k, e);
    if (!m)
        return NULL;
    struct binder b = {.m = m, .e = e};
    if (!quantized_config_read(&m->quantized, dir, e) && (m->folder = model_folder_open(dir, e)))
        weights_settle_tie(m);
    int rc = m->folder ? bind_all(&b) : -1;
    free(b.used);
    if (!rc)
        return m;
    model_close(m);
    return NULL;
}

static void pairs_release(const struct kernels *k, const struct linear *l, struct lora *a)
{
    for (struct lora *next; a; a = next) {
        next = a->next;
        k->free(a->a, (size_t)(a->rank * l->in) * sizeof *a->a);
        k->free(a->b, (size_t)(a->rank * l->out) * sizeof *a->b);
        free(a);
    }
}

static void linear_release(const struct kernels *k, struct linear *l)
{
    pairs_release(k, l, l->lora);
    pairs_release(k, l, l->in_grid);
    lora_grid_free(k, l->made);
    free(l->module);
    free(l->quantized);
    if (l->bias)
        k->free(l->bias, (size_t)l->out * sizeof *l->bias);
}

static void norm_release(const struct kernels *k, struct norm *n, int64_t size)
{
    free(n->name);
    if (n->weight)
        k->free(n->weight, (size_t)size * sizeof *n->weight);
}

void model_close(struct model *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->config.layers; i++) {
        for (int j = 0; j < LAYER_LINEARS; j++)
            linear_release(m->k, layer_linear(&m->layers[i], j));
        for (int j = 0; j < N_NORMS; j++)
            norm_release(m->k, layer_norm(&m->layers[i], j), dim_size(&m->config, NORMS[j].size));
    }
    free(m->layers);
    linear_release(m->k, &m->embed);
    linear_release(m->k, &m->head);
    norm_release(m->k, &m->norm, m->config.hidden);
    if (m->copied)
        m->k->free(m->copied, m->copied_bytes);
    if (m->folder)
        model_folder_close(m->folder);
    free(m->warning);
    model_config_release(&m->config);
    free(m);
}

int model_each_linear(struct model *m, bool with_head, int (*fn)(struct linear *l, void *arg), void *arg)
{
    int rc = 0;
    for (int i = 0; i < m->config.layers && !rc; i++)
        for (int j = 0; j < LAYER_LINEARS && !rc; j++)
            rc = fn(layer_linear(&m->layers[i], j), arg);
    return with_head && !rc ? fn(&m->head, arg) : rc;
}
