#include "quantize/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/threads.h"
#include "format/manifest.h"
#include "format/model_folder.h"
#include "quantize/encode.h"
#include "quantize/layer_file.h"
#include "quantize/layer_work.h"
#include "quantize/report.h"
#include "quantize/solver.h"

#define TENSORS_MAX (LAYER_LINEARS * ENCODED_MAX + LAYER_FLOATS)

struct run {
    const struct quantize_job *j;
    char hash[SHA256_HEX];   /* of the run's identity */
    struct solver *solver;   /* NULL: the method needs no data */
};

/* ---- reading the stored weights ---- */

/* Every element a number, and what the checksums say where there are some. */
static int check_tensor(const struct model *m, const struct st_tensor *t, struct err *e)
{
    const struct st_file *f = model_folder_shard(m->folder, t);
    int64_t at = manifest_find_nonfinite(t);
    if (at >= 0)
        return err_set(e, "%s: tensor '%s': element %lld is not a finite number", f->path, t->name, (long long)at);
    struct st_check *c = st_check_begin(f, t);
    st_check_add(c, t->data, t->size);
    return st_check_end(c, e);
}

/* All tensors of the layer. The first in the list that is bad is told, whatever the threads. */
static int check_layer(const struct model *m, int index, struct err *e)
{
    char *prefix = mem_printf("model.layers.%d.", index);
    size_t length = strlen(prefix);
    const struct st_tensor *list[64];
    struct err errors[64];
    int n = 0, bad = 0;
    for (int i = 0; i < m->folder->n_tensors && n < 64; i++)
        if (!strncmp(m->folder->tensors[i]->name, prefix, length))
            list[n++] = m->folder->tensors[i];
#pragma omp parallel for schedule(dynamic) reduction(+ : bad)
    for (int i = 0; i < n; i++) {
        errors[i] = (struct err)ERR_INIT;
        bad += check_tensor(m, list[i], &errors[i]) < 0;
    }
    free(prefix);
    for (int i = 0; i < n && bad; i++)
        if (errors[i].set)
            return err_set(e, "%s", errors[i].text);
    return 0;
}

/* What lies in no layer. */
static int check_others(const struct model *m, struct err *e)
{
    for (int i = 0; i < m->folder->n_tensors; i++) {
        const struct st_tensor *t = m->folder->tensors[i];
        if (strncmp(t->name, "model.layers.", 13) && check_tensor(m, t, e) < 0)
            return -1;
        if (strncmp(t->name, "model.layers.", 13))
            st_drop(model_folder_shard(m->folder, t), t->data, t->size);
    }
    return 0;
}

static void drop_layer(const struct model *m, int index)
{
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct st_tensor *t = model_folder_part(m->folder, layer_linear(&m->layers[index], i)->module, ".weight");
        st_drop(model_folder_shard(m->folder, t), t->data, t->size);
    }
}

/* ---- one layer ---- */

static json_t *entry_of(const struct run *r, const struct quantize_layer *l, int layer, int i, const struct encoded *x, double weight_error)
{
    const struct linear *of = layer_linear(&r->j->model->layers[layer], i);
    const struct quantize_module *q = l ? &l->modules[i] : NULL;
    bool kept = r->j->selection->kept[layer][i];
    return report_entry(&(struct report_module){
        .layer = layer, .module = of->module, .method = kept ? "none" : quantize_method_name(r->j->o->method), .weights = of->out * of->in,
        .bytes = kept ? of->out * of->in * (int64_t)dtype_size(of->type) : x->bytes, .weight_error = kept ? NAN : weight_error,
        .output_error = q && !kept ? q->output_error : NAN, .damp = q && !kept ? q->damp : NAN});
}

static int write_layer(const struct run *r, int layer, struct st_tensor *tensors, int n, json_t *report, struct err *e)
{
    char *text = json_dumps(report, JSON_COMPACT | JSON_REAL_PRECISION(9));
    int result = layer_file_write(r->j->out, layer, r->hash, text, tensors, n, e);
    free(text);
    return result;
}

/* Modules of a small layer side by side, one thread each, the large ones first: threads meet once a layer. Else all threads share each
 * module. */
static void encode_modules(const struct run *r, int layer, struct encoded x[LAYER_LINEARS], double errors[LAYER_LINEARS])
{
    const struct model *m = r->j->model;
    bool small = r->j->selection->layer_weights < QUANTIZE_SMALL_LAYER;
#pragma omp parallel for schedule(dynamic) if (small)
    for (int k = 0; k < LAYER_LINEARS; k++) {
        int i = (k + LAYER_GATE) % LAYER_LINEARS;
        const char *module = layer_linear(&m->layers[layer], i)->module;
        if (r->j->selection->kept[layer][i])
            continue;
        const struct st_tensor *t = model_folder_part(m->folder, module, ".weight");
        encode_module(&x[i], r->j->o, m->k, module, t);
        errors[i] = encoded_error(&x[i], m->k, t);
    }
}

static int encode_layer(const struct run *r, int layer, struct err *e)
{
    struct encoded x[LAYER_LINEARS] = {0};
    struct st_tensor tensors[TENSORS_MAX];
    double errors[LAYER_LINEARS] = {0};
    json_t *report = json_array();
    int n = 0;
    encode_modules(r, layer, x, errors);
    for (int i = 0; i < LAYER_LINEARS; i++) {
        for (int k = 0; k < x[i].n; k++)
            tensors[n++] = x[i].tensors[k];
        json_array_append_new(report, entry_of(r, NULL, layer, i, &x[i], errors[i]));
    }
    int result = write_layer(r, layer, tensors, n, report, e);
    for (int i = 0; i < LAYER_LINEARS; i++)
        encoded_release(&x[i]);
    json_decref(report);
    return result;
}

static int store_solved(const struct run *r, struct quantize_layer *l, struct err *e)
{
    struct layer_stored x;
    struct st_tensor tensors[TENSORS_MAX];
    json_t *report = json_array();
    int n = 0, result = layer_store(&x, l, r->j->model, r->j->o, e);
    for (int i = 0; i < LAYER_LINEARS && result == 0; i++) {
        for (int k = 0; k < x.modules[i].n; k++)
            tensors[n++] = x.modules[i].tensors[k];
        json_array_append_new(report, entry_of(r, l, l->index, i, &x.modules[i], l->modules[i].weight_error));
    }
    for (int i = 0; i < x.n_floats && result == 0; i++)
        tensors[n++] = x.floats[i];
    if (result == 0)
        result = write_layer(r, l->index, tensors, n, report, e);
    layer_stored_release(&x);
    json_decref(report);
    return result;
}

/* 1: stopped. done: an earlier run's file of this layer, or NULL. */
static int solve_layer(const struct run *r, int layer, const struct st_file *done, struct err *e)
{
    const struct quantize_job *j = r->j;
    struct quantize_layer *l = layer_load(j->model, j->selection, layer);
    int result;
    if (done) {
        result = layer_restore(l, j->model, j->o, done, e);
    } else {
        result = solver_solve(r->solver, l, e);
        if (result == 0)
            result = store_solved(r, l, e);
    }
    if (result == 0 && layer + 1 < j->selection->layers)
        result = solver_advance(r->solver, l);
    layer_free(l);
    return result;
}

static int one_layer(const struct run *r, int layer, const struct st_file *done, struct err *e)
{
    int result = 0;
    if (!done)
        result = check_layer(r->j->model, layer, e);
    if (result == 0 && r->solver)
        result = solve_layer(r, layer, done, e);
    else if (result == 0 && !done)
        result = encode_layer(r, layer, e);
    drop_layer(r->j->model, layer);
    return result;
}

/* ---- all of them ---- */

static struct st_file *find_done(const struct run *r, int layer)
{
    struct err why = ERR_INIT;
    struct st_file *f = layer_file_open(r->j->out, layer, r->hash, true, &why);
    if (!f && why.set) {
        char *text = mem_printf("made again: %s", why.text);
        r->j->say(text);
        free(text);
    }
    return f;
}

static int all_layers(const struct run *r, struct quantize_result *result, struct err *e)
{
    const struct quantize_job *j = r->j;
    int layers = j->selection->layers, from = 0, status = 0;
    bool begun = false;
    for (int i = 0; i < layers && status == 0; i++) {
        struct st_file *done = find_done(r, i);
        from += done && from == i;
        if (!done && !begun) {
            j->progress(i, from, layers);
            begun = true;
        }
        threads_adapt();
        status = j->stop() ? 1 : one_layer(r, i, done, e);
        st_close(done);
        if (status == 0) {
            result->layer = i + 1;
            if (begun)
                j->progress(i + 1, from, layers);
        }
    }
    return status;
}

struct finish {
    const struct run *r;
    struct quantize_result *result;
};

static int write_result(void *arg, const char *dir, struct err *e)
{
    const struct finish *f = arg;
    return quantize_assemble(f->r->j, dir, f->r->hash, f->result, e);
}

/* The layers' files go last: until the record says complete they are what a killed run goes on from. */
static int finish(const struct run *r, struct quantize_result *result, struct err *e)
{
    const struct quantize_job *j = r->j;
    struct finish f = {r, result};
    if (run_folder_finish(j->folder, write_result, &f, "config.json", e) < 0 ||
        run_folder_record(j->folder, "complete", j->run, j->selection->layers, j->selection->layers, e) < 0)
        return -1;
    return layer_files_remove(j->out, e);
}

int quantize_run(const struct quantize_job *j, struct quantize_result *result, struct err *e)
{
    struct run r = {.j = j};
    int layers = j->selection->layers, status = -1;
    *result = (struct quantize_result){0};
    sha256_hex(j->run, strlen(j->run), r.hash);
    if (run_folder_record(j->folder, "running", j->run, 0, layers, e) == 0 && layer_files_begin(j->out, e) == 0 && check_others(j->model, e) == 0 &&
        (!solver_has(j->o->method) || (r.solver = solver_open(j->o, j->model, j->device, j->tokens, j->stop, e))))
        status = all_layers(&r, result, e);
    solver_close(r.solver);
    if (status == 0)
        status = finish(&r, result, e);
    if (status < 0 && !layer_file_exists(j->out, 0) && layer_files_remove(j->out, e) < 0)
        return -1;
    if (status < 0 && !layer_file_exists(j->out, 0))
        run_folder_forget(j->folder); /* what could not begin leaves nothing */
    if (status == 1 && run_folder_record(j->folder, "stopped", j->run, result->layer, layers, e) < 0)
        status = -1;
    return status;
}
