#include "model/weights_train.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "format/manifest.h"
#include "format/model_folder.h"
#include "format/model_writer.h"
#include "kernels/view.h"
#include "model/param.h"
#include "model/tensors.h"

struct master {
    struct model_tensor *t;
    struct param *p;
    const void *weight; /* what the model pointed to before, put back by detach */
    enum dtype type;
};

struct weights_train {
    struct model *m;
    char *source;       /* folder whose other files are copied */
    enum dtype fresh;   /* stored type of a model without a folder */
    struct model_tensor *tensors;
    int n_tensors;
    struct master *masters;
    int n;
};

/* ---- selection ---- */

static pcre2_code *compile(const char *regex, struct err *e)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR text[200];
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
    if (!re) {
        pcre2_get_error_message(code, text, sizeof text);
        err_set(e, "--train: '%s': character %zu: %s", regex, (size_t)at, (const char *)text);
    }
    return re;
}

static void add_master(struct weights_train *w, struct model_tensor *t)
{
    struct master *x = &w->masters[w->n++];
    struct param *p = param_new(mem_strdup(t->name), t->ndim, t->rows, t->cols);
    *x = (struct master){.t = t, .p = p};
    p->embedding = t->l == &w->m->embed;
    if (t->kind == TENSOR_WEIGHT)
        t->l->pw = p;
    else if (t->kind == TENSOR_BIAS)
        t->l->pbias = p;
    else
        t->norm->pw = p;
    if (t->l == &w->m->embed && w->m->config.tied)
        w->m->head.pw = p;
}

/* The name of a selected matrix that is stored in no type that could take a trained one. */
static const char *find_quantized(const struct weights_train *w)
{
    for (int i = 0; i < w->n; i++)
        if (w->masters[i].t->kind == TENSOR_WEIGHT && w->masters[i].t->l->quantized)
            return w->masters[i].t->name;
    return NULL;
}

static void select_matching(struct weights_train *w, const pcre2_code *re)
{
    pcre2_match_data *md = re ? pcre2_match_data_create_from_pattern(re, NULL) : NULL;
    for (int i = 0; i < w->n_tensors; i++)
        if (!re || pcre2_match(re, (PCRE2_SPTR)w->tensors[i].name, PCRE2_ZERO_TERMINATED, 0, 0, md, NULL) >= 0)
            add_master(w, &w->tensors[i]);
    pcre2_match_data_free(md);
}

struct weights_train *weights_train_select(struct model *m, const char *source, const char *regex, struct err *e)
{
    pcre2_code *re = NULL;
    if (regex && !(re = compile(regex, e)))
        return NULL;
    struct weights_train *w = mem_zalloc(1, sizeof *w);
    w->m = m;
    w->source = mem_strdup(source);
    w->fresh = m->config.stored_type < 0 ? DTYPE_F32 : (enum dtype)m->config.stored_type;
    w->tensors = model_list_tensors(m, &w->n_tensors);
    w->masters = mem_zalloc((size_t)w->n_tensors + 1, sizeof *w->masters);
    select_matching(w, re);
    pcre2_code_free(re);
    m->params = mem_array(NULL, (size_t)w->n + 1, sizeof *m->params);
    for (m->n_params = 0; m->n_params < w->n; m->n_params++)
        m->params[m->n_params] = w->masters[m->n_params].p;
    params_sort(m->params, m->n_params);
    const char *quantized = find_quantized(w);
    if (w->n && !quantized)
        return w;
    if (quantized)
        err_set(e, "%s: '%s' is quantized and cannot be trained itself, but adapters over it can", source, quantized);
    else
        err_set(e, "--train: '%s' matches no tensor of the model, for example model.layers.0.self_attn.q_proj.weight", regex);
    weights_train_detach(w);
    return NULL;
}

/* ---- values ---- */

#define CHUNK (1 << 18) /* elements that are converted at a time */

/* Gives every part of a tensor's values to fn(part, first, n, arg), to be filled. */
static void fill_parts(const struct kernels *k, const struct param *p, void (*fn)(float *part, int64_t first, int64_t n, const void *arg), const void *arg)
{
    float *spare = k->host_memory ? NULL : mem_array(NULL, CHUNK, sizeof *spare);
    for (int64_t i = 0, n; i < p->numel; i += n) {
        n = p->numel - i < CHUNK ? p->numel - i : CHUNK;
        float *part = kernels_stage(k, p->value + i, spare);
        fn(part, i, n, arg);
        kernels_staged(k, p->value + i, part, (size_t)n * sizeof *part);
    }
    free(spare);
}

static void convert(float *part, int64_t first, int64_t n, const void *arg)
{
    const struct master *x = arg;
    dtype_to_f32(part, (const char *)x->weight + (size_t)first * dtype_size(x->type), x->type, (size_t)n);
}

static void start_weight(struct model *m, struct master *x)
{
    struct linear *l = x->t->l;
    x->weight = l->weight;
    x->type = l->type;
    if (l->weight)
        fill_parts(m->k, x->p, convert, x);
    l->weight = x->p->value;
    l->type = DTYPE_F32;
    if (l == &m->embed && m->config.tied) {
        m->head.weight = l->weight;
        m->head.type = DTYPE_F32;
    }
}

static void start_vector(const struct kernels *k, struct master *x, float **at)
{
    size_t bytes = (size_t)x->p->numel * sizeof(float);
    float *host = mem_alloc(bytes);
    x->weight = *at;
    k->copy_out(host, *at, bytes);
    k->copy_in(x->p->value, host, bytes);
    *at = x->p->value;
    free(host);
}

void weights_train_start(struct weights_train *w)
{
#pragma omp parallel for schedule(dynamic) if (w->m->k->host_memory)
    for (int i = 0; i < w->n; i++) {
        struct master *x = &w->masters[i];
        if (x->t->kind == TENSOR_WEIGHT)
            start_weight(w->m, x);
        else
            start_vector(w->m->k, x, x->t->kind == TENSOR_BIAS ? &x->t->l->bias : &x->t->norm->weight);
    }
}

/* N(0, initializer_range), drawn from the stream of the tensor's name; norms 1, biases 0 (transformers, _init_weights). */
struct draw {
    enum tensor_kind kind;
    double range;
    struct rng r;
};

static void draw(float *part, int64_t first, int64_t n, const void *arg)
{
    const struct draw *d = arg;
    for (int64_t i = 0; i < n; i++)
        part[i] = d->kind == TENSOR_WEIGHT ? (float)d->range * rng_normal(&d->r, (uint64_t)(first + i)) : d->kind == TENSOR_NORM ? 1.0f : 0.0f;
}

void weights_train_draw(struct weights_train *w, uint64_t seed)
{
#pragma omp parallel for schedule(dynamic) if (w->m->k->host_memory)
    for (int i = 0; i < w->n; i++) {
        const struct master *x = &w->masters[i];
        const struct draw d = {x->t->kind, w->m->config.init_range, {seed, rng_stream(x->t->name, 0)}};
        fill_parts(w->m->k, x->p, draw, &d);
    }
}

static void put_back(struct model *m, struct master *x)
{
    struct linear *l = x->t->l;
    if (x->t->kind == TENSOR_NORM) {
        x->t->norm->pw = NULL;
        if (x->weight)
            x->t->norm->weight = (float *)x->weight;
    } else if (x->t->kind == TENSOR_BIAS) {
        l->pbias = NULL;
        if (x->weight)
            l->bias = (float *)x->weight;
    } else {
        l->pw = NULL;
        l->weight = x->weight ? x->weight : l->weight == x->p->value ? NULL : l->weight;
        l->type = x->weight ? x->type : l->type;
        if (l == &m->embed && m->config.tied) {
            m->head.pw = NULL;
            m->head.weight = l->weight;
            m->head.type = l->type;
        }
    }
}

void weights_train_detach(struct weights_train *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->n; i++) {
        put_back(w->m, &w->masters[i]);
        param_free(w->masters[i].p);
    }
    free(w->m->params);
    w->m->params = NULL;
    w->m->n_params = 0;
    model_free_tensors(w->tensors, w->n_tensors);
    free(w->source);
    free(w->masters);
    free(w);
}

/* ---- saving ---- */

static const struct param *find_master(const struct weights_train *w, const char *name)
{
    if (w->m->config.tied && !strcmp(name, "lm_head.weight")) /* some files store the tied matrix twice */
        name = "model.embed_tokens.weight";
    int lo = 0, hi = w->m->n_params;
    while (lo < hi) {
        int mid = (lo + hi) / 2, d = strcmp(name, w->m->params[mid]->name);
        if (d == 0)
            return w->m->params[mid];
        if (d < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* What is stored: the folder's own list, or every tensor of a model that has none. Caller frees; names borrow. */
static struct st_tensor *list_stored(const struct weights_train *w, int *n)
{
    const struct model_folder *f = w->m->folder;
    *n = f ? f->n_tensors : w->n_tensors;
    struct st_tensor *list = mem_zalloc((size_t)*n + 1, sizeof *list);
    for (int i = 0; i < *n; i++) {
        const struct model_tensor *t = &w->tensors[i];
        if (f && w->m->config.tied && !strcmp(f->tensors[i]->name, "lm_head.weight")) {
            list[i] = *model_folder_find(f, "model.embed_tokens.weight"); /* rounded alike, or it would not be the same any more */
            list[i].name = f->tensors[i]->name;
        } else if (f) {
            list[i] = *f->tensors[i];
        } else {
            list[i] = (struct st_tensor){.name = t->name, .type = w->fresh, .ndim = t->ndim, .shape = {t->rows, t->cols}};
        }
    }
    return list;
}

/* Where the type is not f32, the upper half of `room`, 2 CHUNK floats, takes what is rounded. */
static int write_master(const struct kernels *k, const struct param *p, enum dtype type, float *room, struct model_writer *out, struct err *e)
{
    for (int64_t i = 0, n; i < p->numel; i += n) {
        n = p->numel - i < CHUNK ? p->numel - i : CHUNK;
        const float *value = kernels_view(k, p->value + i, room, (size_t)n * sizeof *value);
        const void *stored = value;
        if (type != DTYPE_F32) {
            dtype_from_f32(room + CHUNK, type, value, (size_t)n);
            stored = room + CHUNK;
            int64_t bad = manifest_find_nonfinite(&(struct st_tensor){.type = type, .numel = n, .data = stored});
            if (bad >= 0)
                return err_set(e, "tensor '%s': element %lld, %g, is too large for the stored type %s", p->name, (long long)(i + bad),
                               (double)value[bad], dtype_name(type));
        }
        if (model_writer_data(out, stored, (size_t)n * dtype_size(type), e) < 0)
            return -1;
    }
    return 0;
}

int weights_train_save(const struct weights_train *w, const char *dir, const char *provenance, struct err *e)
{
    int n, r = model_folder_copy_files(w->source, dir, &(struct model_config_change){.untied = w->m->untied}, e);
    struct st_tensor *list = list_stored(w, &n);
    struct model_writer *out = r == 0 ? model_writer_begin(dir, list, n, MODEL_MAX_SHARD, provenance, e) : NULL;
    float *room = mem_array(NULL, 2 * CHUNK, sizeof *room);
    r = out ? 0 : -1;
    for (int i = 0; i < n && r == 0; i++) {
        const struct param *p = find_master(w, list[i].name);
        r = p ? write_master(w->m->k, p, list[i].type, room, out, e) : model_writer_data(out, list[i].data, list[i].size, e);
    }
    r = model_writer_end(out, r, e);
    free(room);
    free(list);
    return r;
}
