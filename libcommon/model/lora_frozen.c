/* model_add_adapter: PEFT folders applied without merging. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/lora.h"
#include "model/lora_modules.h"
#include "model/param.h"

/* One block: the struct, then A, then B, so that free() of the struct is all that model_close needs. */
static struct lora *new_frozen(const struct adapter_module *am, double weight)
{
    size_t na = (size_t)am->a->numel, nb = (size_t)am->b->numel;
    struct lora *l = mem_alloc(sizeof *l + (na + nb) * sizeof(float));
    *l = (struct lora){.rank = am->rank, .scale = (float)(am->scale * weight)};
    l->a = (float *)(l + 1);
    l->b = l->a + na;
    dtype_to_f32(l->a, am->a->data, am->a->type, na);
    dtype_to_f32(l->b, am->b->data, am->b->type, nb);
    return l;
}

static int check_finite(const struct adapter *a, const char *tensor, const float *x, int64_t n, struct err *e)
{
    int64_t bad = floats_find_bad(x, n);
    return bad < 0 ? 0 : err_set(e, "%s: tensor '%s': element %lld is not a finite number", a->dir, tensor, (long long)bad);
}

static int add_modules(struct model *m, const struct adapter *a, double weight, struct err *e)
{
    for (int i = 0; i < a->n_modules; i++) {
        const struct adapter_module *am = &a->modules[i];
        struct linear *l = lora_find_linear(m, a->dir, am, e);
        if (!l)
            return -1;
        struct lora *x = new_frozen(am, weight);
        lora_append(l, x);
        if (check_finite(a, am->a->name, x->a, am->a->numel, e) < 0 || check_finite(a, am->b->name, x->b, am->b->numel, e) < 0)
            return -1;
    }
    return 0;
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
        const struct st_tensor *t = a->extras[i].tensor;
        float *trained = mem_array(NULL, (size_t)l->out, sizeof *trained);
        dtype_to_f32(trained, t->data, t->type, (size_t)l->out);
        int r = check_finite(a, t->name, trained, l->out, e);
        for (int64_t j = 0; j < l->out; j++)
            l->bias[j] = weight == 1 ? trained[j] : l->bias[j] + (float)weight * (trained[j] - l->bias[j]);
        free(trained);
        if (r < 0)
            return -1;
    }
    return 0;
}

int model_add_adapter(struct model *m, const char *dir, double weight, struct err *e)
{
    struct adapter *a = adapter_open(dir, e);
    if (!a)
        return -1;
    int r = adapter_check_base(a, m->folder, m->config.tied, e);
    if (r == 0)
        r = add_modules(m, a, weight, e);
    if (r == 0)
        r = add_extras(m, a, weight, e);
    adapter_close(a);
    return r;
}
