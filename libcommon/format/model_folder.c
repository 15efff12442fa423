#include "format/model_folder.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

#define INDEX_LIMIT (256u << 20)

/* Shard names come from a file: only plain names may leave this function. */
static bool is_plain_name(const char *name)
{
    return name[0] && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") && !strstr(name, "..");
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct st_tensor *const *)a)->name, (*(const struct st_tensor *const *)b)->name);
}

static int open_shard(struct model_folder *f, const char *name, struct err *e)
{
    char *path = file_join(f->dir, name);
    struct st_file *s = NULL;
    if (!file_exists(path))
        err_set(e, "%s: this shard is missing", path);
    else
        s = st_open(path, e);
    free(path);
    if (s)
        f->shards[f->n_shards++] = s;
    return s ? 0 : -1;
}

/* Distinct shard names of the map, sorted; caller frees the list (the names borrow from the map). */
static const char **shard_names(json_t *map, const char *path, int *n, struct err *e)
{
    const char **names = mem_array(NULL, json_object_size(map) + 1, sizeof *names), *key;
    json_t *value;
    size_t count = 0;
    json_object_foreach(map, key, value) {
        const char *name = json_string_value(value);
        if (!name || !is_plain_name(name)) {
            err_set(e, "%s: weight_map of '%s': expected the plain name of a file in this folder", path, key);
            free(names);
            return NULL;
        }
        names[count++] = name;
    }
    qsort(names, count, sizeof *names, compare_text);
    *n = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]))
            names[(*n)++] = names[i];
    return names;
}

/* Every mapped tensor must stand in the shard that the map names. */
static int check_map(struct model_folder *f, json_t *map, const char *path, struct err *e)
{
    const char *key;
    json_t *value;
    int64_t stored = 0;
    json_object_foreach(map, key, value) {
        char *shard = file_join(f->dir, json_string_value(value));
        const struct st_file *s = NULL;
        for (int i = 0; i < f->n_shards && !s; i++)
            if (!strcmp(f->shards[i]->path, shard))
                s = f->shards[i];
        bool found = s && st_find(s, key);
        free(shard);
        if (!found)
            return err_set(e, "%s: tensor '%s' is not in %s", path, key, json_string_value(value));
    }
    for (int i = 0; i < f->n_shards; i++)
        stored += f->shards[i]->n_tensors;
    f->n_unmapped = (int)(stored - (int64_t)json_object_size(map));
    return 0;
}

static int open_shards(struct model_folder *f, json_t *index, const char *path, struct err *e)
{
    json_t *map = json_object_get(index, "weight_map");
    int n;
    if (!json_is_object(map))
        return err_set(e, "%s: no weight_map", path);
    const char **names = shard_names(map, path, &n, e);
    if (!names)
        return -1;
    f->shards = mem_zalloc((size_t)n + 1, sizeof *f->shards);
    int r = 0;
    for (int i = 0; i < n && r == 0; i++)
        r = open_shard(f, names[i], e);
    free(names);
    return r == 0 ? check_map(f, map, path, e) : -1;
}

static int open_index(struct model_folder *f, const char *path, struct err *e)
{
    struct buf text = BUF_INIT;
    json_error_t je;
    int r = -1;
    if (file_read(&text, path, INDEX_LIMIT, e) == 0) {
        json_t *index = json_loadb(buf_str(&text), text.len, JSON_REJECT_DUPLICATES, &je);
        if (index)
            r = open_shards(f, index, path, e);
        else
            err_set(e, "%s: line %d: %s", path, je.line, je.text);
        json_decref(index);
    }
    buf_release(&text);
    f->sharded = true;
    return r;
}

static int open_files(struct model_folder *f, struct err *e)
{
    char *single = file_join(f->dir, "model.safetensors"), *index = file_join(f->dir, "model.safetensors.index.json");
    int r;
    if (!file_is_dir(f->dir)) {
        r = err_set(e, "%s: %s", f->dir, file_exists(f->dir) ? "not a folder" : "no such folder");
    } else if (file_exists(single)) {
        f->shards = mem_zalloc(1, sizeof *f->shards);
        r = open_shard(f, "model.safetensors", e);
    } else if (file_exists(index)) {
        r = open_index(f, index, e);
    } else {
        r = err_set(e, "%s: neither model.safetensors nor model.safetensors.index.json is there", f->dir);
    }
    free(single);
    free(index);
    return r;
}

static int gather_tensors(struct model_folder *f, struct err *e)
{
    size_t n = 0;
    for (int i = 0; i < f->n_shards; i++)
        n += (size_t)f->shards[i]->n_tensors;
    if (n > INT32_MAX)
        return err_set(e, "%s: too many tensors", f->dir);
    f->tensors = mem_array(NULL, n + 1, sizeof *f->tensors);
    for (int i = 0; i < f->n_shards; i++)
        for (int k = 0; k < f->shards[i]->n_tensors; k++) {
            f->tensors[f->n_tensors++] = &f->shards[i]->tensors[k];
            f->bytes += (int64_t)f->shards[i]->tensors[k].size;
        }
    qsort(f->tensors, n, sizeof *f->tensors, by_name);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(f->tensors[i - 1]->name, f->tensors[i]->name))
            return err_set(e, "%s: tensor '%s' stands in two shards, %s and %s", f->dir, f->tensors[i]->name,
                           strrchr(model_folder_shard(f, f->tensors[i - 1])->path, '/') + 1,
                           strrchr(model_folder_shard(f, f->tensors[i])->path, '/') + 1);
    return 0;
}

struct model_folder *model_folder_open(const char *dir, struct err *e)
{
    struct model_folder *f = mem_zalloc(1, sizeof *f);
    f->dir = mem_strdup(dir);
    if (open_files(f, e) == 0 && gather_tensors(f, e) == 0 && model_folder_fingerprint(f, e) == 0)
        return f;
    model_folder_close(f);
    return NULL;
}

void model_folder_close(struct model_folder *f)
{
    if (!f)
        return;
    for (int i = 0; i < f->n_shards; i++)
        st_close(f->shards[i]);
    free(f->shards);
    free(f->tensors);
    free(f->dir);
    free(f);
}

const struct st_tensor *model_folder_find(const struct model_folder *f, const char *name)
{
    const struct st_tensor key = {.name = (char *)name}, *pointer = &key;
    const struct st_tensor **at = f->n_tensors ? bsearch(&pointer, f->tensors, (size_t)f->n_tensors, sizeof *f->tensors, by_name) : NULL;
    return at ? *at : NULL;
}

const struct st_tensor *model_folder_part(const struct model_folder *f, const char *module, const char *suffix)
{
    char *name = mem_printf("%s%s", module, suffix);
    const struct st_tensor *t = model_folder_find(f, name);
    free(name);
    return t;
}

const struct st_file *model_folder_shard(const struct model_folder *f, const struct st_tensor *t)
{
    for (int i = 0; i < f->n_shards; i++)
        if (t >= f->shards[i]->tensors && t < f->shards[i]->tensors + f->shards[i]->n_tensors)
            return f->shards[i];
    return NULL;
}

#define SAMPLES 64
#define SAMPLE_BYTES 64

static void add_samples(struct sha256 *s, const struct st_tensor *t)
{
    const unsigned char *data = t->data;
    if (t->size <= SAMPLES * SAMPLE_BYTES) {
        sha256_add(s, data, t->size);
        return;
    }
    uint64_t range = t->size - SAMPLE_BYTES;
    for (uint64_t i = 0; i < SAMPLES; i++) /* i * range / 63 without overflow */
        sha256_add(s, data + range / (SAMPLES - 1) * i + range % (SAMPLES - 1) * i / (SAMPLES - 1), SAMPLE_BYTES);
}

int model_folder_fingerprint(struct model_folder *f, struct err *e)
{
    struct sha256 s;
    sha256_init(&s);
    for (int i = 0; i < f->n_tensors; i++) {
        const struct st_tensor *t = f->tensors[i];
        unsigned char number[8];
        sha256_add(&s, t->name, strlen(t->name) + 1);
        sha256_add(&s, t->type_name, strlen(t->type_name) + 1);
        put_le64(number, (uint64_t)t->ndim);
        sha256_add(&s, number, 8);
        for (int k = 0; k < t->ndim; k++) {
            put_le64(number, (uint64_t)t->shape[k]);
            sha256_add(&s, number, 8);
        }
        add_samples(&s, t);
        st_drop(model_folder_shard(f, t), t->data, t->size);
    }
    sha256_end_hex(&s, f->fingerprint);
    return e->set ? -1 : 0;
}
