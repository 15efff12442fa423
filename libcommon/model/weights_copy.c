/* model_copy_weights, model_place_weights: the matrices, in their stored types, from the mapped file into the device's memory. */
#include <stdlib.h>

#include "base/mem.h"
#include "format/model_folder.h"
#include "format/quantized_tensors.h"
#include "model/layer.h"
#include "model/model.h"

enum { ALIGN = 64 };

/* A tensor of the mapped file, its place in the copy, and the pointer to it. */
struct move {
    const void **pointer;
    const struct st_tensor *from;
    size_t at;
};

struct moves {
    const struct model *m;
    struct move *list;
    size_t n, cap, bytes;
};

static void add_move(struct moves *v, const void **pointer, const struct st_tensor *t)
{
    v->list = mem_grow(v->list, &v->cap, v->n + 1, sizeof *v->list);
    v->list[v->n++] = (struct move){pointer, t, v->bytes};
    v->bytes += (t->size + ALIGN - 1) / ALIGN * ALIGN;
}

/* The tensors are those that were found at opening. */
static void add_quantized(struct moves *v, struct linear *l)
{
    struct quantized *q = l->quantized, same;
    const void **const pointers[] = {&q->codes, &q->scales, &q->nested_scales, &q->nested_map, &q->zeros, &q->g_idx};
    const struct st_tensor *used[QUANTIZED_TENSORS_MAX];
    struct err e = ERR_INIT;
    int n;
    if (quantized_tensors_find(&same, used, &n, v->m->folder, &v->m->quantized, l->module, l->out, l->in, &e) <= 0)
        return; /* not so at opening: the file is being changed */
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++)
        for (int j = 0; j < n; j++)
            if (used[j]->data == *pointers[i])
                add_move(v, pointers[i], used[j]);
}

/* What is trained has a master copy of its own. */
static int add_linear(struct linear *l, void *arg)
{
    struct moves *v = arg;
    if (l->quantized) {
        add_quantized(v, l);
    } else if (l->weight && !l->pw) {
        add_move(v, &l->weight, model_folder_part(v->m->folder, l->module, ".weight"));
    }
    return 0;
}

/* The pages of the map are given back at once: the process never holds much more than one set of weights. */
static void copy(const struct model *m, const struct move *v)
{
    char *to = (char *)m->copied + v->at;
    m->k->copy_in(to, v->from->data, v->from->size);
    st_drop(model_folder_shard(m->folder, v->from), v->from->data, v->from->size);
    *v->pointer = to;
}

static struct moves list_moves(struct model *m)
{
    struct moves v = {.m = m};
    model_each_linear(m, !m->config.tied, add_linear, &v);
    add_linear(&m->embed, &v);
    return v;
}

static int copy_all(struct model *m, const struct moves *v, struct err *e)
{
    if (!v->n)
        return 0;
    m->copied = m->k->alloc(v->bytes, e);
    if (!m->copied)
        return -1;
    m->copied_bytes = v->bytes;
#pragma omp parallel for schedule(dynamic) if (m->k->host_memory)
    for (size_t i = 0; i < v->n; i++)
        copy(m, &v->list[i]);
    if (m->config.tied)
        m->head.weight = m->embed.weight;
    return 0;
}

bool model_copy_weights(struct model *m, size_t limit)
{
    struct err e = ERR_INIT;
    struct moves v = list_moves(m);
    bool copied = v.bytes <= limit && copy_all(m, &v, &e) == 0;
    free(v.list);
    return copied;
}

size_t model_placed_bytes(struct model *m)
{
    if (m->k->host_memory)
        return 0;
    struct moves v = list_moves(m);
    free(v.list);
    return v.bytes;
}

int model_place_weights(struct model *m, struct err *e)
{
    if (m->k->host_memory || m->copied || !m->folder)
        return 0;
    struct moves v = list_moves(m);
    int r = copy_all(m, &v, e);
    free(v.list);
    return r;
}
