#include "format/manifest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sha256.h"

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

/* Are all exponent bits of any of these elements set? Width of an element is 2, 4 or 8 bytes. */
static bool block_is_nonfinite(const char *p, int64_t n, enum dtype type)
{
    unsigned bad = 0;
    const uint16_t mask = type == DTYPE_BF16 ? 0x7f80 : 0x7c00;
    const int64_t n2 = type == DTYPE_BF16 || type == DTYPE_F16 ? n : 0, n4 = type == DTYPE_F32 ? n : 0, n8 = type == DTYPE_F64 ? n : 0;
#pragma omp simd reduction(| : bad)
    for (int64_t i = 0; i < n2; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, 2);
        bad |= (h & mask) == mask;
    }
#pragma omp simd reduction(| : bad)
    for (int64_t i = 0; i < n4; i++) {
        uint32_t u;
        memcpy(&u, p + 4 * i, 4);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
#pragma omp simd reduction(| : bad)
    for (int64_t i = 0; i < n8; i++) {
        uint64_t u;
        memcpy(&u, p + 8 * i, 8);
        bad |= (u & 0x7ff0000000000000u) == 0x7ff0000000000000u;
    }
    return bad;
}

int64_t manifest_find_nonfinite(const struct st_tensor *t)
{
    int64_t blocks = (t->numel + NONFINITE_BLOCK - 1) / NONFINITE_BLOCK, first = 0;
    size_t size = dtype_size(t->type);
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16 && t->type != DTYPE_F64)
        return -1;
    for (; first < blocks; first++) {
        int64_t left = t->numel - first * NONFINITE_BLOCK;
        if (block_is_nonfinite((const char *)t->data + (size_t)first * NONFINITE_BLOCK * size, left < NONFINITE_BLOCK ? left : NONFINITE_BLOCK, t->type))
            break;
    }
    for (int64_t i = first * NONFINITE_BLOCK; i < t->numel; i++)
        if (block_is_nonfinite((const char *)t->data + (size_t)i * size, 1, t->type))
            return i;
    return -1;
}

int manifest_verify_file(const struct st_file *f, struct err *e)
{
    int checked = st_verify(f, e);
    if (checked < 0)
        return -1;
    if (!checked && st_meta(f, KEY))
        return err_set(e, "%s: its checksums are missing", f->path);
    int bad = f->n_tensors;
#pragma omp parallel for schedule(dynamic) reduction(min : bad)
    for (int i = 0; i < f->n_tensors; i++)
        if (manifest_find_nonfinite(&f->tensors[i]) >= 0 && i < bad)
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
