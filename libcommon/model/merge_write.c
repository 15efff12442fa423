/* Writing a merge: the files beside the weights, then every tensor in the order of the result. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/threads.h"
#include "format/manifest.h"
#include "format/model_writer.h"
#include "model/merge_impl.h"

#define COPY ((size_t)4 << 20) /* bytes of what is copied that are read at once */

static void hash_file(const struct st_file *f, char hex[SHA256_HEX])
{
    struct sha256 s;
    sha256_init(&s);
    for (size_t at = 0; at < f->map.size; at += COPY) {
        size_t n = f->map.size - at < COPY ? f->map.size - at : COPY;
        sha256_add(&s, f->map.data + at, n);
        st_drop(f, f->map.data + at, n);
    }
    sha256_end_hex(&s, hex);
}

static json_t *adapter_record(const struct adapter *a, double weight)
{
    const char *slash = strrchr(a->dir, '/'), *made = st_meta(a->file, "finetools");
    char hex[SHA256_HEX];
    json_t *one = json_object(), *record = made ? json_loads(made, 0, NULL) : NULL;
    hash_file(a->file, hex);
    json_object_set_new(one, "name", json_string(slash && slash[1] ? slash + 1 : a->dir));
    json_object_set_new(one, "weights", json_string(hex));
    json_object_set_new(one, "weight", json_real(weight));
    if (record)
        json_object_set_new(one, "made", record);
    return one;
}

static char *provenance(const struct merge *m, const char *tool, const char *options, struct err *e)
{
    char tokenizer[SHA256_HEX] = "";
    json_t *list = json_array();
    for (int i = 0; i < m->n_adapters; i++)
        json_array_append_new(list, adapter_record(m->adapters[i], m->weights[i]));
    char *adapters = json_dumps(list, JSON_COMPACT | JSON_SORT_KEYS), *text = NULL;
    json_decref(list);
    if (model_folder_tokenizer_hash(m->into->folder->dir, tokenizer, e) == 0)
        text = manifest_text(&(struct manifest){.tool = tool, .base = m->into->folder->fingerprint, .tokenizer = tokenizer,
                                                .adapters = adapters, .options = options});
    free(adapters);
    return text;
}

struct stream {
    struct merge *m;
    struct merge_pipe *pipe;
    int (*progress)(int64_t bytes);
    struct err *e;
};

static int bad_value(const struct stream *s, const struct merge_item *item)
{
    int64_t at = item->quantized ? -1 : manifest_find_nonfinite(item->base);
    if (at >= 0)
        return err_set(s->e, "%s: tensor '%s': element %lld is not a finite number", s->m->into->folder->dir, item->base->name, (long long)at);
    return err_set(s->e, "tensor '%s': a value of the result is too large for type %s", item->name, dtype_name(item->type));
}

/* After each chunk. */
static int go_on(const struct stream *s)
{
    return s->progress && s->progress(merge_pipe_written(s->pipe)) ? err_set(s->e, "stopped") : 0;
}

static int stream_copy(const struct stream *s, const struct merge_item *item, const struct st_file *file, struct st_check *check)
{
    size_t size = dtype_size(item->base->type);
    for (uint64_t at = 0; at < item->base->size; at += COPY) {
        struct st_tensor part = *item->base;
        size_t len = item->base->size - at < COPY ? (size_t)(item->base->size - at) : COPY;
        part.data = (const char *)item->base->data + at;
        part.numel = size ? (int64_t)(len / size) : 0;
        if (!item->packed && manifest_find_nonfinite(&part) >= 0)
            return bad_value(s, item);
        st_check_add(check, part.data, len);
        if (merge_pipe_put(s->pipe, part.data, len, NULL, file) < 0 || go_on(s) < 0)
            return -1;
    }
    return 0;
}

static int stream_computed(const struct stream *s, const struct merge_item *item, const struct st_file *file, struct st_check *check)
{
    size_t size = dtype_size(item->type), from_size = dtype_size(item->base->type);
    for (int64_t at = 0; at < item->base->numel; at += MERGE_CHUNK) {
        int64_t n = item->base->numel - at < MERGE_CHUNK ? item->base->numel - at : MERGE_CHUNK;
        char *out = mem_array(NULL, (size_t)n, size);
        bool good = merge_compute(item, s->m->into->k, at, n, out, threads_count());
        st_check_add(check, (const char *)item->base->data + (size_t)at * from_size, (size_t)n * from_size);
        st_drop(file, (const char *)item->base->data + (size_t)at * from_size, (size_t)n * from_size);
        if (!good) {
            free(out);
            return bad_value(s, item);
        }
        if (merge_pipe_put(s->pipe, out, (size_t)n * size, out, NULL) < 0 || go_on(s) < 0)
            return -1;
    }
    return 0;
}

/* What carries checksums is compared with them; the tensors of a quantized weight are read here and there later. */
static int check_sources(const struct stream *s, const struct merge_item *item)
{
    for (int i = 0; i < item->n_sources; i++) {
        const struct st_tensor *t = item->sources[i];
        struct st_check *check = st_check_begin(model_folder_shard(s->m->into->folder, t), t);
        if (check)
            st_check_add(check, t->data, t->size);
        if (st_check_end(check, s->e) < 0)
            return -1;
    }
    return 0;
}

static void drop_sources(const struct stream *s, const struct merge_item *item)
{
    for (int i = 0; i < item->n_sources; i++)
        st_drop(model_folder_shard(s->m->into->folder, item->sources[i]), item->sources[i]->data, item->sources[i]->size);
}

/* The values of a quantized weight. */
static int stream_values(const struct stream *s, const struct merge_item *item)
{
    int64_t all = item->rows * item->columns, step = merge_chunk(item);
    size_t size = dtype_size(item->type);
    int r = check_sources(s, item);
    for (int64_t at = 0; at < all && r == 0; at += step) {
        int64_t n = all - at < step ? all - at : step;
        char *out = mem_array(NULL, (size_t)n, size);
        if (!merge_compute(item, s->m->into->k, at, n, out, threads_count())) {
            free(out);
            r = bad_value(s, item);
        } else if (merge_pipe_put(s->pipe, out, (size_t)n * size, out, NULL) < 0 || go_on(s) < 0) {
            r = -1;
        }
    }
    drop_sources(s, item);
    return r;
}

static void count_moved(struct merge_plan *p, const char *codes, const char *before, int64_t n)
{
    p->code_bytes += n;
    for (int64_t i = 0; i < n; i++)
        p->moved_bytes += codes[i] != before[i];
}

/* Codes or scales of a requantized weight: each makes the whole weight again, as they stand far apart in the file. */
static int stream_part(const struct stream *s, const struct merge_item *item)
{
    int64_t all = item->rows * item->columns, step = merge_chunk(item);
    float *w = mem_array(NULL, (size_t)all, sizeof *w);
    char *out = mem_alloc((size_t)item->base->size);
    int r = check_sources(s, item);
    for (int64_t at = 0; at < all && r == 0; at += step)
        if (!merge_compute(item, s->m->into->k, at, all - at < step ? all - at : step, w + at, threads_count()))
            r = bad_value(s, item);
    if (r == 0)
        s->m->into->k->requantize(w, item->quantized, item->part == MERGE_CODES ? out : NULL, item->part == MERGE_SCALES ? out : NULL);
    free(w);
    if (r == 0 && item->part == MERGE_CODES)
        count_moved(&s->m->plan, out, item->base->data, (int64_t)item->base->size);
    drop_sources(s, item);
    if (r < 0) {
        free(out);
        return -1;
    }
    return merge_pipe_put(s->pipe, out, (size_t)item->base->size, out, NULL) < 0 || go_on(s) < 0 ? -1 : 0;
}

static const struct merge_item *find_item(const struct merge *m, const char *name)
{
    int low = 0, high = m->n_items - 1;
    while (low < high) { /* it is there: the list was made from the items */
        int middle = (low + high) / 2;
        if (strcmp(m->items[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return &m->items[low];
}

static int stream_item(const struct stream *s, const char *name)
{
    const struct merge_item *item = find_item(s->m, name);
    if (item->quantized)
        return item->part == MERGE_WHOLE ? stream_values(s, item) : stream_part(s, item);
    const struct st_file *file = model_folder_shard(s->m->into->folder, item->base);
    struct st_check *check = st_check_begin(file, item->base);
    bool copied = !item->n_terms && !item->n_extras && item->type == item->base->type;
    if ((copied ? stream_copy(s, item, file, check) : stream_computed(s, item, file, check)) == 0)
        return st_check_end(check, s->e);
    st_check_free(check);
    return -1;
}

static struct st_tensor *declare(const struct merge *m)
{
    struct st_tensor *list = mem_zalloc((size_t)m->n_items + 1, sizeof *list);
    for (int i = 0; i < m->n_items; i++) {
        const struct merge_item *item = &m->items[i];
        if (item->base)
            list[i] = *item->base;
        else
            list[i] = (struct st_tensor){.ndim = 2, .shape = {item->rows, item->columns}};
        list[i].name = item->name;
        if (item->part == MERGE_WHOLE && (!item->base || item->type != item->base->type)) {
            list[i].type = item->type;
            strcpy(list[i].type_name, dtype_name(item->type));
        }
    }
    return list;
}

static int write_weights(struct merge *m, const char *dir, const char *record, int (*progress)(int64_t bytes), struct err *e)
{
    struct st_tensor *list = declare(m);
    struct model_writer *w = model_writer_begin(dir, list, m->n_items, m->max_shard, record, e);
    struct merge_pipe *pipe = w ? merge_pipe_new(w) : NULL;
    int r = -1;
    if (w && !pipe)
        err_set(e, "%s: cannot start a thread", dir);
    if (pipe) {
        struct stream s = {m, pipe, progress, e};
        r = 0;
        for (int i = 0; i < m->n_items && r == 0; i++)
            r = stream_item(&s, list[i].name);
        if (merge_pipe_end(pipe, e) < 0)
            r = -1;
    }
    r = model_writer_end(w, r, e);
    free(list);
    return r;
}

int merge_write(struct merge *m, const char *dir, const char *tool, const char *options, int (*progress)(int64_t bytes), struct err *e)
{
    bool plain = m->into->quantized.method != QUANTIZED_NONE && !m->requantize;
    const struct model_config_change change = {m->plan.untied || m->into->untied, m->plan.type, plain ? "" : NULL};
    if (model_folder_copy_files(m->into->folder->dir, dir, &change, e) < 0)
        return -1;
    char *record = provenance(m, tool, options, e);
    int r = record ? write_weights(m, dir, record, progress, e) : -1;
    free(record);
    return r;
}
