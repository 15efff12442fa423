/* Does an adapter belong to a base model? */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "format/adapter.h"

#define EMBEDDING "model.embed_tokens"

/* The shape of a module's weight. False: the base has none. */
static bool weight_shape(const struct adapter_base *b, const char *module, int64_t shape[2])
{
    for (int i = 0; i < b->n_quantized; i++)
        if (!strcmp(b->quantized[i].module, module)) {
            shape[0] = b->quantized[i].out;
            shape[1] = b->quantized[i].in;
            return true;
        }
    const struct st_tensor *t = model_folder_part(b->folder, module, ".weight");
    if (!t)
        return b->tied && !strcmp(module, "lm_head") && weight_shape(b, EMBEDDING, shape);
    shape[0] = t->ndim == 2 ? t->shape[0] : -1; /* of another dimension: equal to none */
    shape[1] = t->ndim == 2 ? t->shape[1] : -1;
    return true;
}

static int check_pair(const struct adapter *a, const struct adapter_module *m, const struct adapter_base *b, struct err *e)
{
    int64_t shape[2];
    if (!weight_shape(b, m->module, shape))
        return err_set(e, "%s: module '%s' is not in the model %s", a->file->path, m->module, b->folder->dir);
    int64_t out = m->embedding ? m->a->shape[1] : m->b->shape[0], in = m->embedding ? m->b->shape[0] : m->a->shape[1];
    if (shape[0] != out || shape[1] != in)
        return err_set(e, "%s: module '%s' is for a weight of [%lld, %lld], the model %s has [%lld, %lld]", a->file->path, m->module, (long long)out,
                       (long long)in, b->folder->dir, (long long)shape[0], (long long)shape[1]);
    return 0;
}

static int check_extra(const struct adapter *a, const struct adapter_extra *x, const struct adapter_base *b, struct err *e)
{
    const struct st_tensor *w = model_folder_find(b->folder, x->name), *t = x->tensor;
    char has[ST_SHAPE_TEXT], wants[ST_SHAPE_TEXT];
    if (!w && b->tied && !strcmp(x->name, "lm_head.weight"))
        w = model_folder_find(b->folder, EMBEDDING ".weight");
    if (!w)
        return err_set(e, "%s: tensor '%s' is for '%s', which is not in the model %s", a->file->path, t->name, x->name, b->folder->dir);
    if (w->ndim != t->ndim || memcmp(w->shape, t->shape, (size_t)t->ndim * sizeof t->shape[0]))
        return err_set(e, "%s: tensor '%s' is %s, the model %s has %s", a->file->path, t->name, st_shape_text(t, has), b->folder->dir,
                       st_shape_text(w, wants));
    return 0;
}

/* A module of the base that the configuration targets and the adapter has no pair for. */
static int check_target(const struct adapter *a, const char *module, struct err *e)
{
    int rank;
    double scale;
    int targeted = adapter_targets(&a->config, module, &rank, &scale, e);
    if (targeted <= 0)
        return targeted;
    if (a->config.target_regex && !strcasecmp(a->config.target_regex, "all-linear") && !strcmp(module, EMBEDDING))
        return 0;
    if (!adapter_find(a, module))
        return err_set(e, "%s: targeted module '%s' has no lora_A and lora_B", a->file->path, module);
    return 0;
}

static int check_targets(const struct adapter *a, const struct adapter_base *b, struct err *e)
{
    for (int i = 0; i < b->n_quantized; i++)
        if (check_target(a, b->quantized[i].module, e) < 0)
            return -1;
    for (int i = 0; i < b->folder->n_tensors; i++) {
        const struct st_tensor *t = b->folder->tensors[i];
        size_t n = strlen(t->name), m = strlen(".weight");
        if (t->ndim != 2 || n <= m || strcmp(t->name + n - m, ".weight"))
            continue;
        char *module = mem_strndup(t->name, n - m);
        int r = check_target(a, module, e);
        free(module);
        if (r < 0)
            return -1;
    }
    return 0;
}

int adapter_check_base(const struct adapter *a, const struct adapter_base *b, struct err *e)
{
    const char *want = a->config.base_fingerprint;
    if (want && strcmp(want, b->folder->fingerprint))
        return err_set(e, "%s: made for the base with fingerprint %.16s, %s has %.16s", a->dir, want, b->folder->dir, b->folder->fingerprint);
    for (int i = 0; i < a->n_modules; i++)
        if (check_pair(a, &a->modules[i], b, e) < 0)
            return -1;
    for (int i = 0; i < a->n_extras; i++)
        if (check_extra(a, &a->extras[i], b, e) < 0)
            return -1;
    return check_targets(a, b, e);
}
