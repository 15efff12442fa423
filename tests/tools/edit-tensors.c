/* edit-tensors FILE EDIT...: changes a safetensors file in place, for tests that need a damaged one.
 *     drop NAME              rename NAME NEW            copy NAME NEW
 *     shape NAME TYPE DxD    the bytes stay, cut or followed by zeros
 *     set NAME OFFSET HEX    bytes of the data         text NAME TEXT    becomes U8 with these bytes */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/safetensors.h"

struct list {
    struct st_tensor *t;
    char **data;
    int n;
};

__attribute__((noreturn)) static void fail(const char *why)
{
    fprintf(stderr, "edit-tensors: %s\n", why);
    exit(1);
}

static int find(const struct list *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->t[i].name, name))
            return i;
    fail(name);
}

static void resize(struct list *l, int i, size_t size)
{
    l->data[i] = mem_realloc(l->data[i], size + 1);
    if (size > l->t[i].size)
        memset(l->data[i] + l->t[i].size, 0, size - l->t[i].size);
    l->t[i].size = size;
}

static void set_shape(struct list *l, int i, const char *type, const char *shape)
{
    struct st_tensor *t = &l->t[i];
    char *end = (char *)shape;
    size_t count = 1;
    t->type = dtype_from_name(type);
    snprintf(t->type_name, sizeof t->type_name, "%s", type);
    for (t->ndim = 0; *end; t->ndim++, end += *end == 'x') {
        t->shape[t->ndim] = strtoll(end, &end, 10);
        count *= (size_t)t->shape[t->ndim];
    }
    resize(l, i, count * dtype_size(t->type));
}

static void set_bytes(struct list *l, int i, size_t at, const char *hex)
{
    for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2, at++) {
        if (at >= l->t[i].size)
            fail("outside the tensor");
        l->data[i][at] = (char)byte;
    }
}

static void set_text(struct list *l, int i, const char *text)
{
    char shape[20];
    snprintf(shape, sizeof shape, "%zu", strlen(text));
    set_shape(l, i, "U8", shape);
    memcpy(l->data[i], text, strlen(text));
}

static void drop(struct list *l, int i)
{
    l->n--;
    free(l->data[i]);
    memmove(&l->t[i], &l->t[i + 1], (size_t)(l->n - i) * sizeof *l->t);
    memmove(&l->data[i], &l->data[i + 1], (size_t)(l->n - i) * sizeof *l->data);
}

static void copy(struct list *l, int i, const char *name)
{
    l->t[l->n] = l->t[i];
    l->t[l->n].name = mem_strdup(name);
    l->data[l->n] = mem_alloc(l->t[i].size + 1);
    memcpy(l->data[l->n++], l->data[i], l->t[i].size);
}

/* Returns how many arguments the edit took. */
static int edit(struct list *l, char **a, int n)
{
    static const struct { const char *name; int args; } edits[] = {{"drop", 2}, {"rename", 3}, {"copy", 3}, {"text", 3}, {"shape", 4}, {"set", 4}};
    for (size_t k = 0; k < sizeof edits / sizeof *edits; k++)
        if (!strcmp(a[0], edits[k].name) && n >= edits[k].args) {
            int i = find(l, a[1]);
            if (k == 0)
                drop(l, i);
            else if (k == 1)
                l->t[i].name = a[2];
            else if (k == 2)
                copy(l, i, a[2]);
            else if (k == 3)
                set_text(l, i, a[2]);
            else if (k == 4)
                set_shape(l, i, a[2], a[3]);
            else
                set_bytes(l, i, strtoull(a[2], NULL, 10), a[3]);
            return edits[k].args;
        }
    fail(a[0]);
}

/* The writer sorts its list, so the data is looked up by name again. */
static void write_file(const struct list *l, const char *path)
{
    struct err e = ERR_INIT;
    FILE *f = fopen(path, "wb");
    struct st_meta meta = {"format", "pt"};
    struct st_tensor *sorted = mem_array(NULL, (size_t)l->n + 1, sizeof *sorted);
    memcpy(sorted, l->t, (size_t)l->n * sizeof *sorted);
    struct st_writer *w = f ? st_writer_begin(f, path, sorted, l->n, &meta, 1, &e) : NULL;
    int r = w ? 0 : -1;
    for (int i = 0; i < l->n && r == 0; i++)
        r = st_writer_data(w, l->data[find(l, sorted[i].name)], sorted[i].size, &e);
    if (r < 0 || st_writer_end(w, &e) < 0 || fclose(f) != 0)
        fail(e.text);
    free(sorted);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct st_file *f = argc > 2 ? st_open(argv[1], &e) : NULL;
    if (!f)
        fail(argc > 2 ? e.text : "FILE EDIT...");
    struct list l = {mem_array(NULL, (size_t)(f->n_tensors + argc), sizeof *l.t), mem_array(NULL, (size_t)(f->n_tensors + argc), sizeof *l.data), f->n_tensors};
    for (int i = 0; i < l.n; i++) {
        l.t[i] = f->tensors[i];
        l.data[i] = mem_alloc(l.t[i].size + 1);
        memcpy(l.data[i], f->tensors[i].data, l.t[i].size);
    }
    for (int i = 2; i < argc;)
        i += edit(&l, argv + i, argc - i);
    remove(argv[1]);
    write_file(&l, argv[1]);
    return 0;
}
