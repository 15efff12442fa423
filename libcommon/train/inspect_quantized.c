/* What of a model is quantized, and how. */
#include "format/quantized_tensors.h"
#include "model/tensors.h"
#include "train/inspect_impl.h"

struct totals {
    const struct model *m;
    json_t *modules;
    const struct quantized *first; /* methods quantize all modules alike */
    int64_t weights, bytes;
};

static int add_module(struct linear *l, void *arg)
{
    struct totals *t = arg;
    const struct st_tensor *used[QUANTIZED_TENSORS_MAX];
    struct quantized q;
    struct err e = ERR_INIT;
    int n;
    if (!l->quantized || quantized_tensors_find(&q, used, &n, t->m->folder, &t->m->quantized, l->module, l->out, l->in, &e) <= 0)
        return 0;
    const char *kind = quantized_kind_name(q.kind);
    json_object_set_new(t->modules, kind, json_integer(json_integer_value(json_object_get(t->modules, kind)) + 1));
    t->first = t->first ? t->first : l->quantized;
    t->weights += l->out * l->in;
    for (int i = 0; i < n; i++)
        t->bytes += (int64_t)used[i]->size;
    return 0;
}

/* What the kind of layout leaves open. */
static void add_layout(json_t *to, const struct quantized *q, const struct quantized_config *c)
{
    json_object_set_new(to, "bits", json_integer(q->bits));
    if (q->kind == QUANTIZED_GPTQ || q->kind == QUANTIZED_AWQ)
        json_object_set_new(to, "group", c->group ? json_integer(c->group) : json_null());
    if (q->kind == QUANTIZED_NF4 || q->kind == QUANTIZED_FP4) {
        json_object_set_new(to, "block", json_integer(q->group));
        json_object_set_new(to, "double_quantization", json_boolean(q->scale_type == DTYPE_U8));
        json_object_set_new(to, "dequantized_type", json_string(dtype_name(q->value_type)));
    }
    if (q->kind == QUANTIZED_GPTQ) {
        json_object_set_new(to, "symmetric", json_boolean(c->sym));
        json_object_set_new(to, "act_order", json_boolean(c->desc_act));
        json_object_set_new(to, "format", json_string(c->zeros_plain ? "gptq_v2" : "gptq"));
    }
}

/* What the folder's words and scales stand for. */
static int64_t count_parameters(struct model *m)
{
    int n;
    int64_t all = 0;
    struct model_tensor *list = model_list_tensors(m, &n);
    for (int i = 0; i < n; i++)
        all += list[i].rows * list[i].cols;
    model_free_tensors(list, n);
    return all;
}

int64_t inspect_add_quantization(json_t *to, struct model *m)
{
    struct totals t = {.m = m, .modules = json_object()};
    model_each_linear(m, !m->config.tied, add_module, &t);
    if (!t.first) {
        json_decref(t.modules);
        return 0;
    }
    json_t *about = json_object();
    json_object_set_new(about, "method", json_string(quantized_method_name(m->quantized.method)));
    json_object_set_new(about, "modules", t.modules);
    add_layout(about, t.first, &m->quantized);
    json_object_set_new(about, "weights", json_integer(t.weights));
    json_object_set_new(about, "bits_per_weight", json_real(8.0 * (double)t.bytes / (double)t.weights));
    json_object_set_new(to, "quantization", about);
    return count_parameters(m);
}
