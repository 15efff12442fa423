/* model_copy_weights: the matrices, in their stored types, from the mapped file into the device's memory. */
#include <stdlib.h>

#include "base/mem.h"
#include "format/model_folder.h"
#include "model/layer.h"
#include "model/model.h"

enum { ALIGN = 64 };

/* A tensor of the mapped file and its place in the copy. */
struct move {
    struct linear *l;
    const struct st_tensor *from;
    size_t at;
};

struct moves {
    const struct model_folder *folder;
    struct move *list;
    size_t n, cap, bytes;
};

static int add_move(struct linear *l, void *arg)
{
    struct moves *v = arg;
    char *name = mem_printf("%s.weight", l->module);
    const struct st_tensor *t = model_folder_find(v->folder, name);
    v->list = mem_grow(v->list, &v->cap, v->n + 1, sizeof *v->list);
    v->list[v->n++] = (struct move){l, t, v->bytes};
    v->bytes += (t->size + ALIGN - 1) / ALIGN * ALIGN;
    free(name);
    return 0;
}

/* The pages of the map are given back at once: the process never holds much more than one set of weights. */
static void copy(const struct model *m, const struct move *v)
{
    char *to = (char *)m->copied + v->at;
    m->k->copy_in(to, v->from->data, v->from->size);
    st_drop(model_folder_shard(m->folder, v->from), v->from->data, v->from->size);
    v->l->weight = to;
}

bool model_copy_weights(struct model *m, size_t limit)
{
    struct err e = ERR_INIT;
    struct moves v = {.folder = m->folder};
    model_each_linear(m, !m->config.tied, add_move, &v);
    add_move(&m->embed, &v);
    if (v.bytes <= limit && (m->copied = m->k->alloc(v.bytes, &e))) {
        m->copied_bytes = v.bytes;
#pragma omp parallel for schedule(dynamic)
        for (size_t i = 0; i < v.n; i++)
            copy(m, &v.list[i]);
        if (m->config.tied)
            m->head.weight = m->embed.weight;
    }
    free(v.list);
    return m->copied != NULL;
}
