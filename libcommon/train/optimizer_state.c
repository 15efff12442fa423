#include "train/optimizer_state.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/checkpoint.h"
#include "format/safetensors.h"
#include "kernels/view.h"

static struct st_tensor *describe(const struct optimizer *o, int *n)
{
    struct st_tensor *list = mem_zalloc((size_t)o->n * OPTIMIZER_PARTS + 1, sizeof *list);
    struct optimizer_part parts[OPTIMIZER_PARTS];
    *n = 0;
    for (int i = 0; i < o->n; i++)
        for (int k = 0, all = optimizer_parts(o, i, parts); k < all; k++) {
            const struct param *p = o->params[i];
            struct st_tensor *t = &list[(*n)++];
            *t = (struct st_tensor){.name = mem_printf("%s.%s", p->name, parts[k].name), .type = parts[k].type, .ndim = p->ndim, .data = parts[k].data};
            memcpy(t->shape, p->shape, sizeof p->shape);
            if (parts[k].flat)
                t->ndim = 1, t->shape[0] = parts[k].count;
        }
    return list;
}

struct sink {
    struct st_writer *w;
    struct err *e;
};

static int write_piece(void *arg, const void *host, size_t n)
{
    struct sink *s = arg;
    return st_writer_data(s->w, host, n, s->e);
}

int optimizer_state_save(const struct optimizer *o, const struct kernels *k, const char *dir, struct err *e)
{
    const struct st_meta meta = {ST_CHECKSUMS, NULL};
    char *path = file_join(dir, CHECKPOINT_OPTIMIZER);
    int n, r = 0;
    struct st_tensor *list = describe(o, &n);
    FILE *out = fopen(path, "we");
    struct st_writer *w = out ? st_writer_begin(out, path, list, n, &meta, 1, e) : NULL;
    if (!out)
        err_sys(e, "%s: cannot write", path);
    r = w ? 0 : -1;
    for (int i = 0; i < n && r == 0; i++)
        r = kernels_each(k, list[i].data, list[i].size, write_piece, &(struct sink){w, e});
    if (r == 0)
        r = st_writer_end(w, e);
    else
        st_writer_free(w);
    if (out && fclose(out) != 0 && r == 0)
        r = err_sys(e, "%s: cannot write", path);
    for (int i = 0; i < n; i++)
        free(list[i].name);
    free(list);
    free(path);
    return r;
}

static int load_part(const struct kernels *k, const struct st_file *f, const struct st_tensor *want, struct err *e)
{
    const struct st_tensor *t = st_find(f, want->name);
    if (!t)
        return err_set(e, "%s: tensor '%s' is missing", f->path, want->name);
    if (t->type != want->type || t->ndim != want->ndim || t->shape[0] != want->shape[0] || (t->ndim > 1 && t->shape[1] != want->shape[1]))
        return err_set(e, "%s: tensor '%s' is of another type or shape than the model needs", f->path, want->name);
    k->copy_in((void *)want->data, t->data, t->size);
    st_drop(f, t->data, t->size);
    return 0;
}

static bool has_codes(const struct st_file *f)
{
    for (int i = 0; i < f->n_tensors; i++)
        if (f->tensors[i].type == DTYPE_U8)
            return true;
    return false;
}

int optimizer_state_load(struct optimizer *o, const struct kernels *k, const char *dir, struct err *e)
{
    char *path = file_join(dir, CHECKPOINT_OPTIMIZER);
    struct st_file *f = st_open(path, e);
    int n, r = f ? 0 : -1;
    struct st_tensor *list = describe(o, &n);
    if (f && has_codes(f) != (o->n_eight > 0))
        r = err_set(e, "%s: holds the state of %s, expected that of %s", path, has_codes(f) ? "adamw8bit" : "adamw", o->n_eight ? "adamw8bit" : "adamw");
    else if (f && f->n_tensors != n)
        r = err_set(e, "%s: holds %d tensors, expected %d", path, f->n_tensors, n);
    for (int i = 0; i < n; i++) {
        if (r == 0)
            r = load_part(k, f, &list[i], e);
        free(list[i].name);
    }
    free(list);
    st_close(f);
    free(path);
    return r;
}
