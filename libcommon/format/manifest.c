#include "format/manifest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sha256.h"
#include "format/quantized_tensors.h"

#define KEY "finetools"
#define NONFINITE_BLOCK 4096

static void add_string(json_t *root, const char *key, const char *value)
{
    if (value && value[0])
        json_object_set_new(root, key, json_string(value));
}

static void add_json(json_t *root, const char *key, const char *text)
{
    json_t *value = text ? json_loads(text, 0, NULL) : NULL;
    if (value)
        json_object_set_new(root, key, value);
}

static char *dump(json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS), *copy = mem_strdup(text ? text : "{}");
    free(text);
    json_decref(root);
    return copy;
}

char *manifest_text(const struct manifest *m)
{
    json_t *root = json_object();
    add_string(root, "tool", m->tool);
    add_string(root, "version", FINETOOLS_VERSION);
    add_string(root, "base", m->base);
    add_string(root, "tokenizer", m->tokenizer);
    add_string(root, "template", m->template_hash);
    add_string(root, "data", m->data);
    add_json(root, "adapters", m->adapters);
    add_json(root, "options", m->options);
    return dump(root);
}

static const char *const beside_weights[] = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "adapter_config.json",
    "quantize_config.json",
};

static int hash_file(const char *dir, const char *name, char hex[SHA256_HEX], struct err *e)
{
    char *path = file_join(dir, name);
    struct file_map m;
    int r = 0;
    hex[0] = 0;
    if (file_exists(path) && (r = file_map(&m, path, e)) == 0) {
        sha256_hex(m.data, m.size, hex);
        file_unmap(&m);
    }
    free(path);
    return r;
}

char *manifest_add_files(const char *provenance, const char *dir, struct err *e)
{
    json_t *root = provenance ? json_loads(provenance, 0, NULL) : NULL, *files = json_object();
    char hex[SHA256_HEX];
    if (!json_is_object(root)) {
        json_decref(root);
        root = json_object();
    }
    for (size_t i = 0; i < sizeof beside_weights / sizeof beside_weights[0]; i++) {
        if (hash_file(dir, beside_weights[i], hex, e) < 0)
            break;
        add_string(files, beside_weights[i], hex);
    }
    if (json_object_size(files))
        json_object_set(root, "files", files);
    json_decref(files);
    return dump(root);
}

/* Are all exponent bits of any of these elements set? Eight bytes at a time: in a lane where they are, the inverted exponent is 0, and
 * only then does adding all ones below the lane's top bit leave that bit clear. */
static bool is_nonfinite(const char *p, size_t len, enum dtype type)
{
    const uint64_t each16 = 0x0001000100010001u, each32 = 0x0000000100000001u;
    const uint64_t exponent = type == DTYPE_BF16 ? 0x7f80 * each16 : type == DTYPE_F16 ? 0x7c00 * each16 : type == DTYPE_F32 ? 0x7f800000 * each32 : 0x7ff0000000000000u;
    const uint64_t top = dtype_size(type) == 2 ? 0x8000 * each16 : type == DTYPE_F32 ? 0x80000000 * each32 : 0x8000000000000000u;
    uint64_t finite = top;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t w = 0;
        if (len - i >= 8)
            memcpy(&w, p + i, 8);
        else
            memcpy(&w, p + i, len - i);
        finite &= (~w & exponent) + ~top;
    }
    return (finite & top) != top;
}

int64_t manifest_find_nonfinite(const struct st_tensor *t)
{
    int64_t blocks = (t->numel + NONFINITE_BLOCK - 1) / NONFINITE_BLOCK, first = 0;
    size_t size = dtype_size(t->type);
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16 && t->type != DTYPE_F64)
        return -1;
    for (; first < blocks; first++) {
        int64_t left = t->numel - first * NONFINITE_BLOCK;
        size_t n = (size_t)(left < NONFINITE_BLOCK ? left : NONFINITE_BLOCK);
        if (is_nonfinite((const char *)t->data + (size_t)first * NONFINITE_BLOCK * size, n * size, t->type))
            break;
    }
    for (int64_t i = first * NONFINITE_BLOCK; i < t->numel; i++)
        if (is_nonfinite((const char *)t->data + (size_t)i * size, size, t->type))
            return i;
    return -1;
}

int manifest_verify_file(const struct st_file *f, const struct model_folder *folder, struct err *e)
{
    int checked = st_verify(f, e);
    if (checked < 0)
        return -1;
    if (!checked && st_meta(f, KEY))
        return err_set(e, "%s: its checksums are missing", f->path);
    int bad = f->n_tensors;
#pragma omp parallel for schedule(dynamic) reduction(min : bad)
    for (int i = 0; i < f->n_tensors; i++)
        if (i < bad && !quantized_tensors_is_packed(folder, f, &f->tensors[i]) && manifest_find_nonfinite(&f->tensors[i]) >= 0)
            bad = i;
    if (bad < f->n_tensors)
        return err_set(e, "%s: tensor '%s': element %lld is not a finite number", f->path, f->tensors[bad].name,
                       (long long)manifest_find_nonfinite(&f->tensors[bad]));
    return checked;
}

int manifest_verify_companions(const struct st_file *f, const char *dir, struct err *e)
{
    const char *text = st_meta(f, KEY), *name;
    json_t *root = text ? json_loads(text, 0, NULL) : NULL, *value;
    char hex[SHA256_HEX];
    int n = 0, r = 0;
    if (text && !root)
        return err_set(e, "%s: metadata '" KEY "' is not JSON", f->path);
    json_object_foreach(json_object_get(root, "files"), name, value) {
        const char *want = json_string_value(value);
        if (r == 0 && (strchr(name, '/') || !want))
            r = err_set(e, "%s: metadata '" KEY "': expected the hashes of files in this folder", f->path);
        if (r == 0)
            r = hash_file(dir, name, hex, e);
        if (r == 0 && strcmp(hex, want))
            r = err_set(e, "%s/%s: %s since it was written beside %s", dir, name, hex[0] ? "has changed" : "has been removed",
                        strrchr(f->path, '/') ? strrchr(f->path, '/') + 1 : f->path);
        n++;
    }
    json_decref(root);
    return r < 0 ? -1 : n;
}
