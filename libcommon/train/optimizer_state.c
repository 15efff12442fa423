#include "train/optimizer_state.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/checkpoint.h"
#include "format/safetensors.h"

static const char *const PARTS[] = {"master", "exp_avg", "exp_avg_sq", "reference"};

static int parts(const struct optimizer *o)
{
    return o->keeps_reference ? 4 : 3;
}

static float *part(const struct optimizer *o, int i, int k)
{
    return (k == 0 ? o->value : k == 1 ? o->m : k == 2 ? o->v : o->reference) + o->offset[i];
}

static struct st_tensor *describe(const struct optimizer *o)
{
    struct st_tensor *list = mem_zalloc((size_t)o->n * (size_t)parts(o) + 1, sizeof *list);
    for (int i = 0; i < o->n; i++)
        for (int k = 0; k < parts(o); k++) {
            const struct param *p = o->params[i];
            struct st_tensor *t = &list[i * parts(o) + k];
            *t = (struct st_tensor){.name = mem_printf("%s.%s", p->name, PARTS[k]), .type = DTYPE_F32, .ndim = p->ndim, .data = part(o, i, k)};
            memcpy(t->shape, p->shape, sizeof p->shape);
        }
    return list;
}

int optimizer_state_save(const struct optimizer *o, const char *dir, struct err *e)
{
    const struct st_meta meta = {ST_CHECKSUMS, NULL};
    char *path = file_join(dir, CHECKPOINT_OPTIMIZER);
    struct st_tensor *list = describe(o);
    int n = o->n * parts(o), r = 0;
    FILE *out = fopen(path, "we");
    struct st_writer *w = out ? st_writer_begin(out, path, list, n, &meta, 1, e) : NULL;
    if (!out)
        err_sys(e, "%s: cannot write", path);
    r = w ? 0 : -1;
    for (int i = 0; i < n && r == 0; i++)
        r = st_writer_data(w, list[i].data, list[i].size, e);
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

static int load_part(struct optimizer *o, const struct st_file *f, int i, int k, struct err *e)
{
    const struct param *p = o->params[i];
    char *name = mem_printf("%s.%s", p->name, PARTS[k]);
    const struct st_tensor *t = st_find(f, name);
    bool fits = t && t->type == DTYPE_F32 && t->ndim == p->ndim && t->shape[0] == p->shape[0] && (p->ndim < 2 || t->shape[1] == p->shape[1]);
    if (fits) {
        memcpy(part(o, i, k), t->data, t->size);
        st_drop(f, t->data, t->size);
    } else {
        err_set(e, "%s: tensor '%s' is %s", f->path, name, t ? "of another type or shape than the model needs" : "missing");
    }
    free(name);
    return fits ? 0 : -1;
}

int optimizer_state_load(struct optimizer *o, const char *dir, struct err *e)
{
    char *path = file_join(dir, CHECKPOINT_OPTIMIZER);
    struct st_file *f = st_open(path, e);
    int r = f ? 0 : -1;
    if (f && f->n_tensors != o->n * parts(o))
        r = err_set(e, "%s: holds %d tensors, expected %d", path, f->n_tensors, o->n * parts(o));
    for (int i = 0; i < o->n && r == 0; i++)
        for (int k = 0; k < parts(o) && r == 0; k++)
            r = load_part(o, f, i, k, e);
    st_close(f);
    free(path);
    return r;
}
