#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/json_scan.h"

/* The reference's enum Dtype; its order decides the order of tensors in a file. */
static const struct {
    const char *name;
    int bits;
} types[] = {
    {"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8}, {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},
    {"I32", 32}, {"U32", 32}, {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
};

int st_type_order(const char *type_name)
{
    for (int i = 0; i < (int)(sizeof types / sizeof types[0]); i++)
        if (!strcmp(types[i].name, type_name))
            return i;
    return -1;
}

int st_type_bits(const char *type_name)
{
    int i = st_type_order(type_name);
    return i < 0 ? 0 : types[i].bits;
}

/* What one pass over the header collects. */
struct header {
    struct json_scan s;
    struct st_file *f;
    size_t cap_tensors, cap_meta;
    struct buf text;
};

static int scan_metadata(struct header *h)
{
    struct st_file *f = h->f;
    struct json_scan *s = &h->s;
    if (json_scan_peek(s) == 'n')
        return json_scan_word(s, "null");
    if (json_scan_char(s, '{') < 0)
        return -1;
    if (json_scan_try(s, '}'))
        return 0;
    do {
        if (json_scan_string(s, &h->text) < 0)
            return -1;
        if (strlen(buf_str(&h->text)) != h->text.len)
            return err_set(s->e, "%s: a metadata key holds a NUL character", s->what);
        size_t need = (size_t)f->n_meta + 1, cap = h->cap_meta;
        f->meta_keys = mem_grow(f->meta_keys, &cap, need, sizeof *f->meta_keys);
        f->meta_values = mem_grow(f->meta_values, &h->cap_meta, need, sizeof *f->meta_values);
        char *key = mem_strdup(buf_str(&h->text));
        f->meta_keys[f->n_meta] = key;
        f->meta_values[f->n_meta++] = NULL;
        if (json_scan_char(s, ':') < 0 || json_scan_string(s, &h->text) < 0)
            return -1;
        if (strlen(buf_str(&h->text)) != h->text.len)
            return err_set(s->e, "%s: metadata value of '%s' holds a NUL character", s->what, key);
        f->meta_values[f->n_meta - 1] = mem_strdup(buf_str(&h->text));
    } while (json_scan_try(s, ','));
    return json_scan_char(s, '}');
}

static int scan_shape(struct header *h, struct st_tensor *t)
{
    struct json_scan *s = &h->s;
    if (json_scan_char(s, '[') < 0)
        return -1;
    if (json_scan_try(s, ']'))
        return 0;
    do {
        uint64_t v;
        if (json_scan_uint(s, &v) < 0)
            return -1;
        if (v > INT64_MAX)
            return err_set(s->e, "%s: tensor '%s' has a dimension of %llu", s->what, t->name, (unsigned long long)v);
        if (t->ndim == ST_MAX_DIMS)
            return err_set(s->e, "%s: tensor '%s' has more than %d dimensions", s->what, t->name, ST_MAX_DIMS);
        t->shape[t->ndim++] = (int64_t)v;
    } while (json_scan_try(s, ','));
    return json_scan_char(s, ']');
}

static int scan_offsets(struct header *h, struct st_tensor *t)
{
    struct json_scan *s = &h->s;
    uint64_t begin, end;
    if (json_scan_char(s, '[') < 0 || json_scan_uint(s, &begin) < 0 || json_scan_char(s, ',') < 0 || json_scan_uint(s, &end) < 0 ||
        json_scan_char(s, ']') < 0)
        return -1;
    if (end < begin)
        return err_set(s->e, "%s: tensor '%s' ends at offset %llu, before its beginning at %llu", s->what, t->name, (unsigned long long)end,
                       (unsigned long long)begin);
    t->offset = begin;
    t->size = end - begin;
    return 0;
}

static int scan_type(struct header *h, struct st_tensor *t)
{
    if (json_scan_string(&h->s, &h->text) < 0)
        return -1;
    if (!st_type_bits(buf_str(&h->text)))
        return err_set(h->s.e, "%s: tensor '%s' has the unknown type '%.40s'", h->s.what, t->name, buf_str(&h->text));
    strcpy(t->type_name, buf_str(&h->text));
    t->type = dtype_from_name(t->type_name);
    return 0;
}

static int scan_tensor(struct header *h, struct st_tensor *t)
{
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    struct json_scan *s = &h->s;
    unsigned seen = 0;
    if (json_scan_char(s, '{') < 0)
        return -1;
    s->depth = 2;
    if (json_scan_try(s, '}'))
        return err_set(s->e, "%s: tensor '%s' has no dtype", s->what, t->name);
    do {
        if (json_scan_string(s, &h->text) < 0 || json_scan_char(s, ':') < 0)
            return -1;
        int k = 0;
        while (k < 3 && strcmp(buf_str(&h->text), fields[k]))
            k++;
        if (k < 3 && seen >> k & 1)
            return err_set(s->e, "%s: tensor '%s' has the field '%s' twice", s->what, t->name, fields[k]);
        seen |= 1u << k;
        int r = k == 0 ? scan_type(h, t) : k == 1 ? scan_shape(h, t) : k == 2 ? scan_offsets(h, t) : json_scan_skip(s);
        if (r < 0)
            return -1;
    } while (json_scan_try(s, ','));
    for (int k = 0; k < 3; k++)
        if (!(seen >> k & 1))
            return err_set(s->e, "%s: tensor '%s' has no %s", s->what, t->name, fields[k]);
    return json_scan_char(s, '}');
}

/* A name of h->text whose value comes next. */
static int scan_entry(struct header *h, bool *metadata)
{
    struct json_scan *s = &h->s;
    struct st_file *f = h->f;
    if (json_scan_char(s, ':') < 0)
        return -1;
    if (!strcmp(buf_str(&h->text), "__metadata__") && h->text.len == 12) {
        if (*metadata)
            return err_set(s->e, "%s: __metadata__ stands twice", s->what);
        *metadata = true;
        return scan_metadata(h);
    }
    if (strlen(buf_str(&h->text)) != h->text.len)
        return err_set(s->e, "%s: a tensor name holds a NUL character", s->what);
    if (f->n_tensors == ST_MAX_TENSORS)
        return err_set(s->e, "%s: more than %d tensors", s->what, ST_MAX_TENSORS);
    f->tensors = mem_grow(f->tensors, &h->cap_tensors, (size_t)f->n_tensors + 1, sizeof *f->tensors);
    struct st_tensor *t = &f->tensors[f->n_tensors++];
    *t = (struct st_tensor){.name = mem_strdup(buf_str(&h->text))};
    return scan_tensor(h, t);
}

static int scan_header(struct header *h)
{
    struct json_scan *s = &h->s;
    bool metadata = false;
    if (json_scan_char(s, '{') < 0)
        return -1;
    if (!json_scan_try(s, '}')) {
        do {
            if (json_scan_string(s, &h->text) < 0 || scan_entry(h, &metadata) < 0)
                return -1;
        } while (json_scan_try(s, ','));
        if (json_scan_char(s, '}') < 0)
            return -1;
    }
    return json_scan_end(s);
}

static int by_offset(const void *a, const void *b)
{
    const struct st_tensor *x = *(const struct st_tensor *const *)a, *y = *(const struct st_tensor *const *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct st_tensor *)a)->name, ((const struct st_tensor *)b)->name);
}

const struct st_tensor **st_file_order(const struct st_file *f)
{
    const struct st_tensor **list = mem_array(NULL, (size_t)f->n_tensors, sizeof *list);
    for (int i = 0; i < f->n_tensors; i++)
        list[i] = &f->tensors[i];
    if (f->n_tensors)
        qsort(list, (size_t)f->n_tensors, sizeof *list, by_offset);
    return list;
}

/* numel from the shape, and whether type and shape need exactly the bytes between the offsets. */
static int check_size(struct st_tensor *t, const char *path, struct err *e)
{
    uint64_t n = 1, bits;
    char shape[ST_SHAPE_TEXT];
    for (int i = 0; i < t->ndim; i++)
        if (__builtin_mul_overflow(n, (uint64_t)t->shape[i], &n) || n > INT64_MAX)
            return err_set(e, "%s: tensor '%s': the product of shape %s is too large", path, t->name, st_shape_text(t, shape));
    if (__builtin_mul_overflow(n, (uint64_t)st_type_bits(t->type_name), &bits))
        return err_set(e, "%s: tensor '%s': the size of %s is too large", path, t->name, st_shape_text(t, shape));
    if (bits % 8)
        return err_set(e, "%s: tensor '%s': %s does not fill whole bytes", path, t->name, st_shape_text(t, shape));
    if (bits / 8 != t->size)
        return err_set(e, "%s: tensor '%s': %s needs %llu bytes, its offsets give %llu", path, t->name, st_shape_text(t, shape),
                       (unsigned long long)bits / 8, (unsigned long long)t->size);
    t->numel = (int64_t)n;
    return 0;
}

/* The tensors must cover the data section without holes or overlaps. */
static int check_layout(struct st_file *f, uint64_t data_size, struct err *e)
{
    const struct st_tensor **list = st_file_order(f);
    uint64_t start = 0;
    int r = 0;
    for (int i = 0; i < f->n_tensors && r == 0; i++) {
        struct st_tensor *t = &f->tensors[list[i] - f->tensors];
        if (t->offset != start)
            r = err_set(e, "%s: tensor '%s' begins at offset %llu, expected %llu", f->path, t->name, (unsigned long long)t->offset,
                        (unsigned long long)start);
        else
            r = check_size(t, f->path, e);
        t->place = i;
        start = t->offset + t->size;
    }
    free(list);
    if (r == 0 && start != data_size)
        r = err_set(e, "%s: the tensors cover %llu bytes, the file holds %llu bytes of data", f->path, (unsigned long long)start,
                    (unsigned long long)data_size);
    return r;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(struct st_file *f, struct err *e)
{
    if (f->n_tensors)
        qsort(f->tensors, (size_t)f->n_tensors, sizeof *f->tensors, by_name);
    for (int i = 1; i < f->n_tensors; i++)
        if (!strcmp(f->tensors[i - 1].name, f->tensors[i].name))
            return err_set(e, "%s: tensor '%s' stands twice", f->path, f->tensors[i].name);
    if (f->n_meta < 2)
        return 0;
    char **keys = mem_array(NULL, (size_t)f->n_meta, sizeof *keys);
    memcpy(keys, f->meta_keys, (size_t)f->n_meta * sizeof *keys);
    qsort(keys, (size_t)f->n_meta, sizeof *keys, compare_text);
    int r = 0;
    for (int i = 1; i < f->n_meta && r == 0; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            r = err_set(e, "%s: metadata key '%s' stands twice", f->path, keys[i]);
    free(keys);
    return r;
}

static int parse(struct st_file *f, const unsigned char *data, size_t size, struct err *e)
{
    if (size < 8)
        return err_set(e, "%s: %zu bytes, too short for a safetensors file", f->path, size);
    uint64_t n = get_le64(data);
    if (n > ST_MAX_HEADER)
        return err_set(e, "%s: header of %llu bytes, at most %d are allowed (is this a safetensors file?)", f->path, (unsigned long long)n,
                       ST_MAX_HEADER);
    if (n > size - 8)
        return err_set(e, "%s: header of %llu bytes in a file of %zu (truncated?)", f->path, (unsigned long long)n, size);
    size_t bad = json_scan_utf8(data + 8, n);
    if (bad != n)
        return err_set(e, "%s: header: byte %zu is not valid UTF-8", f->path, bad);
    char *what = mem_printf("%s: header", f->path);
    struct header h = {.f = f, .text = BUF_INIT};
    json_scan_init(&h.s, data + 8, n, what, e);
    int r = scan_header(&h);
    buf_release(&h.text);
    free(what);
    if (r < 0 || check_names(f, e) < 0 || check_layout(f, size - 8 - n, e) < 0)
        return -1;
    for (int i = 0; i < f->n_tensors; i++)
        f->tensors[i].data = data + 8 + n + f->tensors[i].offset;
    return 0;
}

struct st_file *st_parse(const void *data, size_t size, const char *name, struct err *e)
{
    struct st_file *f = mem_zalloc(1, sizeof *f);
    f->path = mem_strdup(name);
    f->map = (struct file_map){(const unsigned char *)"", 0, false};
    if (parse(f, data, size, e) == 0)
        return f;
    st_close(f);
    return NULL;
}

struct st_file *st_open(const char *path, struct err *e)
{
    struct file_map map;
    if (file_map(&map, path, e) < 0)
        return NULL;
    struct st_file *f = st_parse(map.data, map.size, path, e);
    if (f)
        f->map = map;
    else
        file_unmap(&map);
    return f;
}

void st_close(struct st_file *f)
{
    if (!f)
        return;
    for (int i = 0; i < f->n_tensors; i++)
        free(f->tensors[i].name);
    for (int i = 0; i < f->n_meta; i++) {
        free(f->meta_keys[i]);
        free(f->meta_values[i]);
    }
    free(f->tensors);
    free(f->meta_keys);
    free(f->meta_values);
    file_unmap(&f->map);
    free(f->path);
    free(f);
}

const struct st_tensor *st_find(const struct st_file *f, const char *name)
{
    struct st_tensor key = {.name = (char *)name};
    return f->n_tensors ? bsearch(&key, f->tensors, (size_t)f->n_tensors, sizeof *f->tensors, by_name) : NULL;
}

const char *st_meta(const struct st_file *f, const char *key)
{
    for (int i = 0; i < f->n_meta; i++)
        if (!strcmp(f->meta_keys[i], key))
            return f->meta_values[i];
    return NULL;
}

void st_drop(const struct st_file *f, const void *data, uint64_t len)
{
    file_map_drop(&f->map, data, len);
}

char *st_shape_text(const struct st_tensor *t, char to[ST_SHAPE_TEXT])
{
    int n = snprintf(to, ST_SHAPE_TEXT, "%s [", t->type_name[0] ? t->type_name : dtype_name(t->type));
    for (int i = 0; i < t->ndim; i++)
        n += snprintf(to + n, (size_t)(ST_SHAPE_TEXT - n), "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    snprintf(to + n, (size_t)(ST_SHAPE_TEXT - n), "]");
    return to;
}
