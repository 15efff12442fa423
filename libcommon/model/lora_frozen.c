/* model_add_adapter: PEFT folders applied without merging. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/lora.h"
#include "model/lora_grid.h"
#include "model/lora_modules.h"
#include "model/param.h"

/* A stored matrix as f32, checked, in device memory; NULL on error. */
static float *load(const struct kernels *k, const struct adapter *a, const struct st_tensor *t, struct err *e)
{
    size_t n = (size_t)t->numel;
    float *host = mem_array(NULL, n, sizeof *host), *x = NULL;
    dtype_to_f32(host, t->data, t->type, n);
    int64_t bad = floats_find_bad(host, t->numel);
    if (bad >= 0)
        err_set(e, "%s: tensor '%s': element %lld is not a finite number", a->dir, t->name, (long long)bad);
    else if ((x = k->alloc(n * sizeof *x, e)))
        k->copy_in(x, host, n * sizeof *x);
    free(host);
    return x;
}

static int add_modules(struct model *m, const struct adapter *a, double weight, struct err *e)
{
    for (int i = 0; i < a->n_modules; i++) {
        const struct adapter_module *am = &a->modules[i];
        struct linear *l = lora_find_linear(m, a->dir, am, e);
        if (!l)
            return -1;
        float *x = load(m->k, a, am->a, e), *y = x ? load(m->k, a, am->b, e) : NULL;
        if (!y) {
            if (x)
                m->k->free(x, (size_t)am->a->numel * sizeof *x);
            return -1;
        }
        struct lora *pair = mem_alloc(sizeof *pair);
        *pair = (struct lora){.rank = am->rank, .scale = (float)(am->scale * weight), .a = x, .b = y};
        lora_append(a->merge_aware && l->quantized ? &l->in_grid : &l->lora, pair);
        if (a->merge_aware && l->quantized && lora_fill_grid(m, l, e) < 0)
            return -1;
    }
    return 0;
}

static int replace_bias(const struct kernels *k, struct linear *l, const struct adapter *a, const struct st_tensor *t, double weight, struct err *e)
{
    size_t bytes = (size_t)l->out * sizeof(float);
    float *trained = mem_alloc(bytes), *base = mem_alloc(bytes);
    dtype_to_f32(trained, t->data, t->type, (size_t)l->out);
    k->copy_out(base, l->bias, bytes);
    int64_t bad = floats_find_bad(trained, l->out);
    for (int64_t j = 0; j < l->out; j++)
        base[j] = weight == 1 ? trained[j] : base[j] + (float)weight * (trained[j] - base[j]);
    k->copy_in(l->bias, base, bytes);
    free(trained);
    free(base);
    return bad < 0 ? 0 : err_set(e, "%s: tensor '%s': element %lld is not a finite number", a->dir, t->name, (long long)bad);
}

/* Biases replace the base's. What is no bias is PEFT's copy of a targeted lm_head, which must be the base's own. */
static int add_extras(struct model *m, const struct adapter *a, double weight, struct err *e)
{
    for (int i = 0; i < a->n_extras; i++) {
        if (!lora_is_bias(&a->extras[i])) {
            if (lora_check_copy(m, a->dir, &a->extras[i], e) < 0)
                return -1;
            continue;
        }
        struct linear *l = lora_find_bias(m, a->dir, &a->extras[i], e);
        if (!l)
            return -1;
        if (replace_bias(m->k, l, a, a->extras[i].tensor, weight, e) < 0)
            return -1;
    }
    return 0;
}

int model_add_adapter(struct model *m, const char *dir, double weight, struct err *e)
{
    struct adapter *a = adapter_open(dir, e);
    if (!a)
        return -1;
    int r = lora_check_base(m, a, e);
    if (r == 0)
        r = add_modules(m, a, weight, e);
    if (r == 0)
        r = add_extras(m, a, weight, e);
    adapter_close(a);
    return r;
}
