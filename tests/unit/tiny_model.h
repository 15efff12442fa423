/* Tiny random models for tests: weights by tests/tools/formula.h, any configuration.
 *
 *     char *dir = tiny_model_write(config_json, NULL);   a temporary model folder
 *     struct model *m = model_open(dir, ...);
 *     free(dir);                               frees dir
 * Anything that goes wrong here ends the test program. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "format/safetensors.h"
#include "kernels/kernels.h"
#include "model/layer.h"
#include "model/model.h"
#include "tests/tools/formula.h"
#include "tests/unit/scratch.h"

__attribute__((noreturn, unused)) static void tiny_die(const struct err *e)
{
    printf("Bail out! %s\n", e->text);
    exit(1);
}

__attribute__((unused)) static bool tiny_ends(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

struct tiny_list {
    struct st_tensor *t;
    size_t n, cap;
    enum dtype type;
    const char *head_as; /* the tensor whose values lm_head.weight gets; NULL: its own */
};

static void tiny_add(struct tiny_list *l, const char *name, const char *suffix, int64_t rows, int64_t cols)
{
    l->t = mem_grow(l->t, &l->cap, l->n + 1, sizeof *l->t);
    l->t[l->n++] = (struct st_tensor){
        .name = mem_printf("%s%s", name, suffix), .type = l->type, .ndim = cols ? 2 : 1, .shape = {rows, cols}};
}

static int tiny_add_linear(struct linear *x, void *arg)
{
    tiny_add(arg, x->module, ".weight", x->out, x->in);
    if (x->bias)
        tiny_add(arg, x->module, ".bias", x->out, 0);
    return 0;
}

/* Every tensor that a folder of this model holds. */
static void tiny_list_tensors(struct tiny_list *l, struct model *m)
{
    tiny_add_linear(&m->embed, l);
    model_each_linear(m, !m->config.tied, tiny_add_linear, l);
    tiny_add(l, m->norm.name, "", m->config.hidden, 0);
    for (int i = 0; i < m->config.layers; i++) {
        const struct layer *ly = &m->layers[i];
        tiny_add(l, ly->attn_norm.name, "", m->config.hidden, 0);
        tiny_add(l, ly->mlp_norm.name, "", m->config.hidden, 0);
        if (m->config.qk_norm) {
            tiny_add(l, ly->q_norm.name, "", m->config.head_dim, 0);
            tiny_add(l, ly->k_norm.name, "", m->config.head_dim, 0);
        }
    }
}

static void tiny_write_tensors(struct tiny_list *l, const char *path)
{
    struct err e = ERR_INIT;
    FILE *f = fopen(path, "wb");
    struct st_meta meta = {"format", "pt"};
    struct st_writer *w = f ? st_writer_begin(f, path, l->t, (int)l->n, &meta, 1, &e) : NULL;
    int rc = w ? 0 : -1;
    for (size_t i = 0; i < l->n && !rc; i++) {
        struct st_tensor *t = &l->t[i];
        float *host = mem_array(NULL, (size_t)t->numel, sizeof *host);
        void *stored = mem_array(NULL, (size_t)t->numel, dtype_size(t->type));
        formula_fill(host, l->head_as && !strcmp(t->name, "lm_head.weight") ? l->head_as : t->name, (uint64_t)t->numel);
        dtype_from_f32(stored, t->type, host, (size_t)t->numel);
        rc = st_writer_data(w, stored, t->size, &e);
        free(host);
        free(stored);
    }
    if (rc || st_writer_end(w, &e) || fclose(f))
        tiny_die(&e);
}

static void tiny_write_text(const char *dir, const char *name, const char *text)
{
    char *path = mem_printf("%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fputs(text, f) < 0 || fclose(f)) {
        printf("Bail out! cannot write %s\n", path);
        exit(1);
    }
    free(path);
}

/* Stored in the type that the configuration names, or in f32. `edit` (may be NULL) changes the list of tensors before they are written. */
__attribute__((unused)) static char *tiny_model_write(const char *config, void (*edit)(struct tiny_list *l))
{
    struct err e = ERR_INIT;
    struct model_config c;
    const struct kernels *k = kernels_open("cpu", &e);
    if (!k || model_config_parse(&c, config, strlen(config), "config.json", &e))
        tiny_die(&e);
    struct model *m = model_new(&c, k, &e);
    if (!m)
        tiny_die(&e);
    struct tiny_list l = {.type = m->config.stored_type < 0 ? DTYPE_F32 : (enum dtype)m->config.stored_type};
    tiny_list_tensors(&l, m);
    if (edit)
        edit(&l);
    char *dir = scratch_folder(), *path = mem_printf("%s/model.safetensors", dir);
    tiny_write_tensors(&l, path);
    free(path);
    tiny_write_text(dir, "config.json", config);
    for (size_t i = 0; i < l.n; i++)
        free(l.t[i].name);
    free(l.t);
    model_close(m);
    return dir;
}

/* A fresh pair on `l`, filled by the formula. Freed by model_close. */
__attribute__((unused)) static struct lora *tiny_lora_add(struct model *m, struct linear *l, int rank, float scale)
{
    struct err e = ERR_INIT;
    struct lora *p = mem_zalloc(1, sizeof *p), **at = &l->lora;
    char *a = mem_printf("%s.lora_A.weight", l->module), *b = mem_printf("%s.lora_B.weight", l->module);
    p->rank = rank;
    p->scale = scale;
    p->a = m->k->alloc((size_t)(rank * l->in) * sizeof *p->a, &e);
    p->b = m->k->alloc((size_t)(rank * l->out) * sizeof *p->b, &e);
    if (!p->a || !p->b)
        tiny_die(&e);
    formula_fill(p->a, a, (uint64_t)(rank * l->in));
    formula_fill(p->b, b, (uint64_t)(rank * l->out));
    while (*at)
        at = &(*at)->next;
    free(a);
    free(b);
    return *at = p;
}

#endif
