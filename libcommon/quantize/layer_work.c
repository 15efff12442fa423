#include "quantize/layer_work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/manifest.h"
#include "format/model_folder.h"

/* Something of the layer that is stored in float. */
struct place {
    const struct st_tensor *stored;
    float *value;
    int64_t n;
};

static struct quantize_vector load_vector(const struct st_tensor *t)
{
    struct quantize_vector v = {.value = mem_array(NULL, (size_t)t->numel, sizeof(float)), .n = t->numel, .type = t->type};
    dtype_to_f32(v.value, t->data, t->type, (size_t)t->numel);
    return v;
}

static struct quantize_vector load_norm(const struct model *m, const struct norm *n)
{
    return n->weight ? load_vector(model_folder_part(m->folder, n->name, "")) : (struct quantize_vector){0};
}

struct quantize_layer *layer_load(const struct model *m, const struct quantize_selection *s, int index)
{
    struct quantize_layer *l = mem_zalloc(1, sizeof *l);
    struct layer *of = &m->layers[index];
    l->index = index;
    for (int j = 0; j < LAYER_LINEARS; j++) {
        const struct linear *from = layer_linear(of, j);
        const struct st_tensor *t = model_folder_part(m->folder, from->module, ".weight");
        struct quantize_vector w = load_vector(t);
        l->modules[j] = (struct quantize_module){.name = from->module, .out = from->out, .in = from->in, .type = t->type, .kept = s->kept[index][j],
                                                 .weight = w.value, .weight_error = NAN, .output_error = NAN, .damp = NAN};
        if (from->bias)
            l->modules[j].bias = load_vector(model_folder_part(m->folder, from->module, ".bias"));
    }
    l->attn_norm = load_norm(m, &of->attn_norm);
    l->mlp_norm = load_norm(m, &of->mlp_norm);
    l->q_norm = load_norm(m, &of->q_norm);
    l->k_norm = load_norm(m, &of->k_norm);
    return l;
}

void layer_free(struct quantize_layer *l)
{
    if (!l)
        return;
    for (int j = 0; j < LAYER_LINEARS; j++) {
        free(l->modules[j].weight);
        free(l->modules[j].bias.value);
        grid_release(&l->modules[j].grid);
    }
    free(l->attn_norm.value);
    free(l->mlp_norm.value);
    free(l->q_norm.value);
    free(l->k_norm.value);
    free(l);
}

/* Everything of the layer that stays in float, in a fixed order; returns their number. */
static int list_floats(struct place to[LAYER_FLOATS], const struct quantize_layer *l, const struct model *m)
{
    const struct layer *of = &m->layers[l->index];
    const struct norm *norms[4] = {&of->attn_norm, &of->mlp_norm, &of->q_norm, &of->k_norm};
    const struct quantize_vector *values[4] = {&l->attn_norm, &l->mlp_norm, &l->q_norm, &l->k_norm};
    int n = 0;
    for (int i = 0; i < 4; i++)
        if (values[i]->value)
            to[n++] = (struct place){model_folder_part(m->folder, norms[i]->name, ""), values[i]->value, values[i]->n};
    for (int j = 0; j < LAYER_LINEARS; j++) {
        const struct quantize_module *x = &l->modules[j];
        if (x->bias.value)
            to[n++] = (struct place){model_folder_part(m->folder, x->name, ".bias"), x->bias.value, x->bias.n};
        if (x->kept)
            to[n++] = (struct place){model_folder_part(m->folder, x->name, ".weight"), x->weight, x->out * x->in};
    }
    return n;
}

/* Rounds to the stored type; a tensor of the result when that is not what was stored. */
static int store_float(struct layer_stored *x, const struct place *p, const struct model *m, struct err *e)
{
    struct st_tensor t = *p->stored;
    char *data = mem_alloc(t.size);
    dtype_from_f32(data, t.type, p->value, (size_t)p->n);
    t.data = data;
    if (manifest_find_nonfinite(&t) >= 0) {
        free(data);
        return err_set(e, "%s: tensor '%s': a value is not finite any more", m->folder->dir, t.name);
    }
    dtype_to_f32(p->value, data, t.type, (size_t)p->n);
    if (!memcmp(data, p->stored->data, t.size)) {
        free(data);
        return 0;
    }
    t.name = mem_strdup(t.name);
    x->floats[x->n_floats++] = t;
    return 0;
}

int layer_store(struct layer_stored *x, struct quantize_layer *l, const struct model *m, const struct quantize_options *o, struct err *e)
{
    struct place floats[LAYER_FLOATS];
    int n = list_floats(floats, l, m);
    *x = (struct layer_stored){0};
    for (int i = 0; i < n; i++)
        if (store_float(x, &floats[i], m, e) < 0)
            return -1;
    for (int j = 0; j < LAYER_LINEARS; j++) {
        struct quantize_module *q = &l->modules[j];
        if (q->kept)
            continue;
        encode_grid(&x->modules[j], o, q->name, &q->grid);
        m->k->dequantize(q->weight, DTYPE_F32, q->in, &x->modules[j].view, 0, q->out, 0, q->in);
    }
    return 0;
}

void layer_stored_release(struct layer_stored *x)
{
    for (int j = 0; j < LAYER_LINEARS; j++)
        encoded_release(&x->modules[j]);
    for (int i = 0; i < x->n_floats; i++) {
        free(x->floats[i].name);
        free((void *)x->floats[i].data);
    }
    *x = (struct layer_stored){0};
}

int layer_restore(struct quantize_layer *l, const struct model *m, const struct quantize_options *o, const struct st_file *f, struct err *e)
{
    struct place floats[LAYER_FLOATS];
    int n = list_floats(floats, l, m);
    for (int i = 0; i < n; i++) {
        const struct st_tensor *t = st_find(f, floats[i].stored->name);
        if (t && (t->type != floats[i].stored->type || t->numel != floats[i].n))
            return err_set(e, "%s: tensor '%s' is not of the type and size of the stored one", f->path, t->name);
        if (t)
            dtype_to_f32(floats[i].value, t->data, t->type, (size_t)t->numel);
    }
    for (int j = 0; j < LAYER_LINEARS; j++) {
        struct quantize_module *q = &l->modules[j];
        struct quantized view;
        if (q->kept)
            continue;
        if (encoded_view(&view, o, q->name, q->out, q->in, f, e) < 0)
            return -1;
        m->k->dequantize(q->weight, DTYPE_F32, q->in, &view, 0, q->out, 0, q->in);
    }
    return 0;
}
