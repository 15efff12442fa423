#include "format/adapter.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define PREFIX "base_model.model."
#define CONFIG_LIMIT (16u << 20)

enum slot { SLOT_A, SLOT_B, SLOT_EMBEDDING_A, SLOT_EMBEDDING_B, SLOT_BASE_BIAS, SLOT_BASE_WEIGHT, SLOT_BIAS, SLOT_UNKNOWN };

/* "default" is the adapter's name in memory; some old files kept it. */
static const struct {
    const char *suffix;
    enum slot slot;
} slots[] = {
    {".lora_A.weight", SLOT_A}, {".lora_A.default.weight", SLOT_A}, {".lora_B.weight", SLOT_B}, {".lora_B.default.weight", SLOT_B},
    {".lora_embedding_A", SLOT_EMBEDDING_A}, {".lora_embedding_A.default", SLOT_EMBEDDING_A},
    {".lora_embedding_B", SLOT_EMBEDDING_B}, {".lora_embedding_B.default", SLOT_EMBEDDING_B},
    {".base_layer.bias", SLOT_BASE_BIAS}, {".base_layer.weight", SLOT_BASE_WEIGHT}, {".bias", SLOT_BIAS},
};

/* Length of the module's name within `name` (after PREFIX). */
static enum slot find_slot(const char *name, size_t *length)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        size_t m = strlen(slots[i].suffix);
        if (n > m && !strcmp(name + n - m, slots[i].suffix)) {
            *length = n - m;
            return slots[i].slot;
        }
    }
    return SLOT_UNKNOWN;
}

static int fail(const struct adapter *a, const struct st_tensor *t, struct err *e, const char *what)
{
    return err_set(e, "%s: tensor '%s': %s", a->file->path, t->name, what);
}

static int add_pair_part(struct adapter *a, const struct st_tensor *t, const char *name, size_t length, enum slot slot, struct err *e)
{
    struct adapter_module *m = a->n_modules ? &a->modules[a->n_modules - 1] : NULL;
    bool embedding = slot == SLOT_EMBEDDING_A || slot == SLOT_EMBEDDING_B, is_a = slot == SLOT_A || slot == SLOT_EMBEDDING_A;
    if (!m || strlen(m->module) != length || memcmp(m->module, name, length)) { /* a module's tensors are neighbours: they are sorted */
        m = &a->modules[a->n_modules++];
        *m = (struct adapter_module){.module = mem_strndup(name, length), .embedding = embedding};
    }
    const struct st_tensor **part = is_a ? &m->a : &m->b;
    if (*part || m->embedding != embedding)
        return fail(a, t, e, "this part of the module is there twice");
    if (t->ndim != 2 || t->shape[0] < 1 || t->shape[1] < 1)
        return fail(a, t, e, "expected a matrix");
    *part = t;
    return 0;
}

static int add_extra(struct adapter *a, const struct st_tensor *t, const char *name, size_t length, enum slot slot, struct err *e)
{
    char *module = mem_strndup(name, length);
    const char *last = strrchr(module, '.') ? strrchr(module, '.') + 1 : module;
    int rank;
    double scale;
    int targeted = adapter_targets(&a->config, module, &rank, &scale, e), r = targeted < 0 ? -1 : 0;
    bool saved_weight = slot == SLOT_BASE_WEIGHT && (!strcmp(last, "lm_head") || !strcmp(last, "embed_tokens"));
    if (r == 0 && slot != SLOT_BASE_WEIGHT && !strcmp(a->config.bias, "none"))
        r = fail(a, t, e, "unexpected, the configuration says bias: none");
    else if (r == 0 && ((slot == SLOT_BASE_WEIGHT && !saved_weight) || (slot != SLOT_BIAS && !targeted) || (slot == SLOT_BIAS && targeted)))
        r = fail(a, t, e, "not a tensor of this adapter");
    else if (r == 0 && slot == SLOT_BIAS && strcmp(a->config.bias, "all"))
        r = fail(a, t, e, "unexpected, the configuration says bias: lora_only");
    if (r == 0)
        a->extras[a->n_extras++] = (struct adapter_extra){mem_printf("%s%s", module, slot == SLOT_BASE_WEIGHT ? ".weight" : ".bias"), t};
    free(module);
    return r;
}

static int sort_tensor(struct adapter *a, const struct st_tensor *t, struct err *e)
{
    const char *name = t->name + strlen(PREFIX);
    size_t length = 0;
    if (strncmp(t->name, PREFIX, strlen(PREFIX)))
        return fail(a, t, e, "expected a name that begins with " PREFIX);
    enum slot slot = find_slot(name, &length);
    if (slot == SLOT_UNKNOWN)
        return fail(a, t, e, strstr(name, "lora_magnitude_vector") ? "DoRA is not supported" : "not a tensor of a LoRA adapter");
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16)
        return err_set(e, "%s: tensor '%s' has type %s, expected F32, F16 or BF16", a->file->path, t->name, t->type_name);
    if (slot <= SLOT_EMBEDDING_B)
        return add_pair_part(a, t, name, length, slot, e);
    return add_extra(a, t, name, length, slot, e);
}

static int check_module(const struct adapter *a, struct adapter_module *m, struct err *e)
{
    int rank = 0, targeted = adapter_targets(&a->config, m->module, &rank, &m->scale, e);
    if (targeted < 0)
        return err_prefix(e, "%s", a->dir);
    if (!m->a || !m->b)
        return err_set(e, "%s: module '%s' has no lora_%c", a->file->path, m->module, m->a ? 'B' : 'A');
    if (!targeted)
        return err_set(e, "%s: module '%s' is not one that adapter_config.json targets", a->file->path, m->module);
    if (m->a->shape[0] != rank || m->b->shape[1] != rank)
        return err_set(e, "%s: module '%s': A [%lld, %lld] and B [%lld, %lld] do not have the rank %d of adapter_config.json", a->file->path,
                       m->module, (long long)m->a->shape[0], (long long)m->a->shape[1], (long long)m->b->shape[0], (long long)m->b->shape[1],
                       rank);
    m->rank = rank;
    return 0;
}

static int by_module(const void *a, const void *b)
{
    return strcmp(((const struct adapter_module *)a)->module, ((const struct adapter_module *)b)->module);
}

static int by_extra(const void *a, const void *b)
{
    return strcmp(((const struct adapter_extra *)a)->name, ((const struct adapter_extra *)b)->name);
}

static int sort_tensors(struct adapter *a, struct err *e)
{
    size_t n = (size_t)a->file->n_tensors;
    a->modules = mem_zalloc(n + 1, sizeof *a->modules);
    a->extras = mem_zalloc(n + 1, sizeof *a->extras);
    for (size_t i = 0; i < n; i++)
        if (sort_tensor(a, &a->file->tensors[i], e) < 0)
            return -1;
    qsort(a->modules, (size_t)a->n_modules, sizeof *a->modules, by_module);
    qsort(a->extras, (size_t)a->n_extras, sizeof *a->extras, by_extra);
    if (a->n_modules == 0)
        return err_set(e, "%s: no LoRA tensors", a->file->path);
    for (int i = 0; i < a->n_modules; i++) {
        if (check_module(a, &a->modules[i], e) < 0)
            return -1;
        if (i && !strcmp(a->modules[i].module, a->modules[i - 1].module))
            return err_set(e, "%s: module '%s' is there twice", a->file->path, a->modules[i].module);
    }
    for (int i = 1; i < a->n_extras; i++)
        if (!strcmp(a->extras[i].name, a->extras[i - 1].name))
            return err_set(e, "%s: '%s' is there twice", a->file->path, a->extras[i].name);
    return 0;
}

/* Adapters of these tools say which weights they were trained on, and with which template. */
static int read_provenance(struct adapter *a, struct err *e)
{
    const char *text = st_meta(a->file, "finetools");
    json_error_t je;
    if (!text)
        return 0;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &je);
    const char *base = json_string_value(json_object_get(root, "base"));
    if (base)
        a->config.base_fingerprint = mem_strdup(base);
    const char *template = json_string_value(json_object_get(root, "template"));
    if (template)
        a->template_hash = mem_strdup(template);
    a->merge_aware = json_is_true(json_object_get(json_object_get(root, "options"), "merge_aware"));
    int r = root ? 0 : err_set(e, "%s: metadata 'finetools': %s", a->file->path, je.text);
    json_decref(root);
    return r;
}

static int read_folder(struct adapter *a, struct err *e)
{
    char *config = file_join(a->dir, "adapter_config.json"), *weights = file_join(a->dir, "adapter_model.safetensors");
    struct buf text = BUF_INIT;
    int r;
    if (!file_is_dir(a->dir))
        r = err_set(e, "%s: %s", a->dir, file_exists(a->dir) ? "not a folder" : "no such folder");
    else if (!file_exists(config))
        r = err_set(e, "%s: no adapter_config.json, so this is not an adapter folder", a->dir);
    else
        r = file_read(&text, config, CONFIG_LIMIT, e);
    if (r == 0)
        r = adapter_config_parse(&a->config, buf_str(&text), text.len, config, e);
    if (r == 0 && (!(a->file = st_open(weights, e)) || st_verify(a->file, e) < 0))
        r = -1;
    buf_release(&text);
    free(config);
    free(weights);
    return r < 0 || sort_tensors(a, e) < 0 || read_provenance(a, e) < 0 ? -1 : 0;
}

struct adapter *adapter_open(const char *dir, struct err *e)
{
    struct adapter *a = mem_zalloc(1, sizeof *a);
    a->dir = mem_strdup(dir);
    if (read_folder(a, e) == 0)
        return a;
    adapter_close(a);
    return NULL;
}

void adapter_close(struct adapter *a)
{
    if (!a)
        return;
    for (int i = 0; i < a->n_modules; i++)
        free(a->modules[i].module);
    for (int i = 0; i < a->n_extras; i++)
        free(a->extras[i].name);
    free(a->modules);
    free(a->extras);
    adapter_config_release(&a->config);
    st_close(a->file);
    free(a->template_hash);
    free(a->dir);
    free(a);
}

const struct adapter_module *adapter_find(const struct adapter *a, const char *module)
{
    struct adapter_module key = {.module = (char *)module};
    return bsearch(&key, a->modules, (size_t)a->n_modules, sizeof *a->modules, by_module);
}
