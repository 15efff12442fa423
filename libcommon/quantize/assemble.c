/* The finished model folder: the layers' files and what stays of the source, in the order that the files want. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "format/manifest.h"
#include "format/model_folder.h"
#include "format/model_writer.h"
#include "quantize/config_text.h"
#include "quantize/encode.h"
#include "quantize/layer_file.h"
#include "quantize/report.h"
#include "quantize/run.h"

#define PART ((uint64_t)4 << 20) /* bytes that are copied at once */

struct source {
    const struct st_tensor *tensor;
    const struct st_file *file;
};

struct parts {
    struct st_file **files;   /* of the layers */
    int n_files;
    struct source *items;     /* by name */
    int n;
    size_t cap;
};

static void add(struct parts *p, const struct st_tensor *t, const struct st_file *f)
{
    p->items = mem_grow(p->items, &p->cap, (size_t)p->n + 1, sizeof *p->items);
    p->items[p->n++] = (struct source){t, f};
}

static int by_name(const void *a, const void *b)
{
    const struct source *x = a, *y = b;
    return strcmp(x->tensor->name, y->tensor->name);
}

static const struct source *find(const struct parts *p, const char *name, int n)
{
    const struct st_tensor key = {.name = (char *)name};
    const struct source s = {&key, NULL};
    return bsearch(&s, p->items, (size_t)n, sizeof s, by_name);
}

/* Is this the stored weight of a module that is quantized? */
static bool is_replaced(const struct quantize_job *j, const char *name)
{
    for (int i = 0; i < j->selection->layers; i++)
        for (int k = 0; k < LAYER_LINEARS; k++) {
            const char *module = layer_linear(&j->model->layers[i], k)->module;
            size_t n = strlen(module);
            if (!j->selection->kept[i][k] && !strncmp(name, module, n) && !strcmp(name + n, ".weight"))
                return true;
        }
    return false;
}

static int open_layers(struct parts *p, const struct quantize_job *j, const char *run_hash, json_t *report, struct err *e)
{
    p->files = mem_zalloc((size_t)j->selection->layers, sizeof *p->files);
    for (; p->n_files < j->selection->layers; p->n_files++) {
        struct st_file *f = p->files[p->n_files] = layer_file_open(j->out, p->n_files, run_hash, false, e);
        json_t *entries = f ? json_loads(st_meta(f, "report"), 0, NULL) : NULL;
        if (!f || !json_is_array(entries))
            return err_set(e, "%s: the file of layer %d has gone or is damaged", j->out, p->n_files);
        json_array_extend(report, entries);
        json_decref(entries);
        for (int i = 0; i < f->n_tensors; i++)
            add(p, &f->tensors[i], f);
    }
    return 0;
}

static void add_stored(struct parts *p, const struct quantize_job *j)
{
    const struct model_folder *f = j->model->folder;
    int made = p->n;
    qsort(p->items, (size_t)made, sizeof *p->items, by_name);
    for (int i = 0; i < f->n_tensors; i++)
        if (!find(p, f->tensors[i]->name, made) && !is_replaced(j, f->tensors[i]->name))
            add(p, f->tensors[i], model_folder_shard(f, f->tensors[i]));
    qsort(p->items, (size_t)p->n, sizeof *p->items, by_name);
}

static int copy_tensor(struct model_writer *w, const struct source *s, struct err *e)
{
    struct st_check *check = st_check_begin(s->file, s->tensor);
    int r = 0;
    for (uint64_t at = 0; at < s->tensor->size && r == 0; at += PART) {
        const char *data = (const char *)s->tensor->data + at;
        size_t n = (size_t)(s->tensor->size - at < PART ? s->tensor->size - at : PART);
        st_check_add(check, data, n);
        r = model_writer_data(w, data, n, e);
        st_drop(s->file, data, n);
    }
    if (r == 0)
        return st_check_end(check, e);
    st_check_free(check);
    return r;
}

static int write_weights(const struct parts *p, const struct quantize_job *j, const char *dir, struct err *e)
{
    struct st_tensor *list = mem_zalloc((size_t)p->n + 1, sizeof *list);
    for (int i = 0; i < p->n; i++)
        list[i] = *p->items[i].tensor;
    struct model_writer *w = model_writer_begin(dir, list, p->n, j->max_shard, j->provenance, e);
    int r = w ? 0 : -1;
    for (int i = 0; i < p->n && r == 0; i++)
        r = copy_tensor(w, find(p, list[i].name, p->n), e);
    r = model_writer_end(w, r, e);
    free(list);
    return r;
}

static int write_small_files(const struct quantize_job *j, const char *dir, const json_t *report, struct err *e)
{
    char *section = quantize_config_section(j->o, j->selection, j->model), *file = quantize_config_file(j->o, j->selection, j->model);
    char *config_path = file_join(dir, "quantize_config.json"), *log_path = file_join(dir, "log.jsonl");
    const struct model_config_change change = {.untied = j->model->untied, .quantization = section};
    int r = model_folder_copy_files(j->model->folder->dir, dir, &change, e);
    if (r == 0 && file)
        r = file_write(config_path, file, strlen(file), e);
    if (r == 0)
        r = report_write(log_path, report, e);
    free(section);
    free(file);
    free(config_path);
    free(log_path);
    return r;
}

int quantize_assemble(const struct quantize_job *j, const char *dir, const char *run_hash, struct quantize_result *result, struct err *e)
{
    struct parts p = {0};
    json_decref(result->report);
    result->report = json_array();
    int r = open_layers(&p, j, run_hash, result->report, e);
    if (r == 0) {
        add_stored(&p, j);
        r = write_small_files(j, dir, result->report, e);
    }
    if (r == 0)
        r = write_weights(&p, j, dir, e);
    for (int i = 0; i < p.n; i++)
        result->bytes += (int64_t)p.items[i].tensor->size;
    for (int i = 0; p.files && i < p.n_files; i++)
        st_close(p.files[i]);
    free(p.files);
    free(p.items);
    return r;
}
