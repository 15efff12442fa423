/* Descriptions of what holds tensors. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/adapter.h"
#include "format/manifest.h"
#include "model/model.h"
#include "train/inspect_impl.h"

void inspect_add_provenance(json_t *to, const struct st_file *f)
{
    const char *text = st_meta(f, "finetools");
    json_t *record = text ? json_loads(text, 0, NULL) : NULL;
    if (record)
        json_object_set_new(to, "provenance", record);
}

void inspect_add_verified(json_t *to, bool checksums, int64_t bytes, const char *note)
{
    json_t *v = json_object();
    json_object_set_new(v, "checksums", json_boolean(checksums));
    json_object_set_new(v, "bytes", json_integer(bytes));
    json_object_set_new(v, "note", json_string(note));
    json_object_set_new(to, "verified", v);
}

static const char *note_of(bool checksums)
{
    return checksums ? "every checksum agrees" : "no checksums in these files: structure, sizes and finite values were checked";
}

/* "tensors", "parameters", "bytes", "types" and, last, "shapes": every tensor's type and shape by name. */
static void add_tensors(json_t *to, const struct st_tensor *const *list, int n)
{
    json_t *types = json_object(), *shapes = json_object();
    int64_t parameters = 0, bytes = 0;
    for (int i = 0; i < n; i++) {
        char shape[ST_SHAPE_TEXT];
        parameters += list[i]->numel;
        bytes += (int64_t)list[i]->size;
        json_object_set_new(types, list[i]->type_name, json_integer(json_integer_value(json_object_get(types, list[i]->type_name)) + 1));
        json_object_set_new(shapes, list[i]->name, json_string(st_shape_text(list[i], shape)));
    }
    json_object_set_new(to, "tensors", json_integer(n));
    json_object_set_new(to, "parameters", json_integer(parameters));
    json_object_set_new(to, "bytes", json_integer(bytes));
    json_object_set_new(to, "types", types);
    json_object_set_new(to, "shapes", shapes);
}

static void add_config(json_t *to, const struct model_config *c)
{
    json_object_set_new(to, "type", json_string(c->type));
    json_object_set_new(to, "layers", json_integer(c->layers));
    json_object_set_new(to, "hidden", json_integer(c->hidden));
    json_object_set_new(to, "ffn", json_integer(c->ffn));
    json_object_set_new(to, "heads", json_integer(c->heads));
    json_object_set_new(to, "kv_heads", json_integer(c->kv_heads));
    json_object_set_new(to, "head_dim", json_integer(c->head_dim));
    json_object_set_new(to, "vocab", json_integer(c->vocab));
    json_object_set_new(to, "tied", json_boolean(c->tied));
    json_object_set_new(to, "context", json_integer(model_config_context(c)));
}

static int verify_model(json_t *to, const struct model_folder *f, struct err *e)
{
    bool checksums = true;
    for (int i = 0; i < f->n_shards; i++) {
        int r = manifest_verify_file(f->shards[i], f, e);
        if (r < 0 || manifest_verify_companions(f->shards[i], f->dir, e) < 0)
            return -1;
        checksums &= r > 0;
    }
    inspect_add_verified(to, checksums, f->bytes, note_of(checksums));
    return 0;
}

int inspect_model(json_t *to, const char *dir, bool verify, struct err *e)
{
    char tokenizer[SHA256_HEX];
    const struct kernels *k = kernels_open("cpu", e);
    struct model *m = k ? model_open(dir, k, e) : NULL;
    if (!m || model_folder_tokenizer_hash(dir, tokenizer, e) < 0) {
        if (m)
            model_close(m);
        return -1;
    }
    struct model_folder *f = m->folder;
    add_config(to, &m->config);
    if (m->warning)
        json_object_set_new(to, "warning", json_string(m->warning));
    json_object_set_new(to, "files", json_integer(f->n_shards));
    json_object_set_new(to, "fingerprint", json_string(f->fingerprint));
    if (tokenizer[0])
        json_object_set_new(to, "tokenizer", json_string(tokenizer));
    int64_t parameters = inspect_add_quantization(to, m);
    add_tensors(to, f->tensors, f->n_tensors);
    if (parameters)
        json_object_set_new(to, "parameters", json_integer(parameters));
    inspect_add_provenance(to, f->shards[0]);
    int r = verify ? verify_model(to, f, e) : 0;
    model_close(m);
    return r;
}

static void add_names(json_t *to, const char *key, char *const *list, int n)
{
    json_t *names = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(names, json_string(list[i]));
    json_object_set_new(to, key, names);
}

/* Words and bytes of quantized matrices are no parameters: there the configuration tells how many there are; 0: unknown. */
static int64_t count_parameters(const struct model_folder *base)
{
    struct err ignored = ERR_INIT;
    struct quantized_config q;
    struct model_config c;
    int64_t all = 0;
    if (quantized_config_read(&q, base->dir, &ignored) == 0 && q.method == QUANTIZED_NONE) {
        for (int i = 0; i < base->n_tensors; i++)
            all += base->tensors[i]->numel;
    } else if (model_config_read(&c, base->dir, &ignored) == 0) {
        all = model_config_parameters(&c);
        model_config_release(&c);
    }
    return all;
}

/* Which part of the whole is trained, when the base is where the adapter says. */
static void add_share(json_t *to, const struct adapter *a)
{
    struct err ignored = ERR_INIT;
    const char *name = a->config.base_name;
    struct model_folder *base = name && file_is_dir(name) ? model_folder_open(name, &ignored) : NULL;
    int64_t all = base ? count_parameters(base) : 0, trained = 0;
    for (int i = 0; i < a->n_modules; i++)
        trained += a->modules[i].a->numel + a->modules[i].b->numel;
    for (int i = 0; i < a->n_extras; i++)
        trained += a->extras[i].tensor->ndim == 1 ? a->extras[i].tensor->numel : 0;
    json_object_set_new(to, "trainable", json_integer(trained));
    if (all)
        json_object_set_new(to, "trainable_share", json_real((double)trained / (double)(all + trained)));
    model_folder_close(base);
}

int inspect_adapter(json_t *to, const char *dir, bool verify, struct err *e)
{
    struct adapter *a = adapter_open(dir, e);
    if (!a)
        return -1;
    const struct adapter_config *c = &a->config;
    if (c->base_name)
        json_object_set_new(to, "base", json_string(c->base_name));
    if (c->base_fingerprint)
        json_object_set_new(to, "base_fingerprint", json_string(c->base_fingerprint));
    json_object_set_new(to, "rank", json_integer(c->r));
    json_object_set_new(to, "alpha", json_real(c->alpha));
    json_object_set_new(to, "rslora", json_boolean(c->rslora));
    json_object_set_new(to, "dropout", json_real(c->dropout));
    json_object_set_new(to, "bias", json_string(c->bias));
    if (c->target_regex)
        json_object_set_new(to, "targets", json_string(c->target_regex));
    else
        add_names(to, "targets", c->targets, c->n_targets);
    json_object_set_new(to, "modules", json_integer(a->n_modules));
    add_share(to, a);
    const struct st_tensor **list = st_file_order(a->file);
    add_tensors(to, list, a->file->n_tensors);
    free(list);
    inspect_add_provenance(to, a->file);
    int checksums = verify ? manifest_verify_file(a->file, NULL, e) : 0;
    if (checksums >= 0 && verify && manifest_verify_companions(a->file, dir, e) < 0)
        checksums = -1;
    if (checksums >= 0 && verify)
        inspect_add_verified(to, checksums > 0, (int64_t)a->file->map.size, note_of(checksums > 0));
    adapter_close(a);
    return checksums < 0 ? -1 : 0;
}

int inspect_tensors(json_t *to, const char *path, bool verify, struct err *e)
{
    struct st_file *f = st_open(path, e);
    if (!f)
        return -1;
    const struct st_tensor **list = st_file_order(f);
    add_tensors(to, list, f->n_tensors);
    free(list);
    inspect_add_provenance(to, f);
    int checksums = verify ? manifest_verify_file(f, NULL, e) : 0;
    if (verify && checksums >= 0)
        inspect_add_verified(to, checksums > 0, (int64_t)f->map.size, note_of(checksums > 0));
    st_close(f);
    return checksums < 0 ? -1 : 0;
}
