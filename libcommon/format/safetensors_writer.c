/* Writing safetensors files as the reference's `prepare` does, with the checksums that our files carry. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/json_write.h"
#include "format/safetensors.h"
#include "format/safetensors_sums.h"

#define BEHIND ((uint64_t)8 << 20) /* bytes after which the system is told to write them: else all is left for the end */

struct st_writer {
    FILE *out;
    char *path;
    const struct st_tensor *tensors; /* borrowed */
    int n, current;                  /* current: the tensor that the next byte belongs to */
    uint64_t in_current, written, data_size, header_size;
    uint64_t on_way;                 /* of `written`: what the system is writing */
    char *header;                    /* kept when there are checksums */
    size_t sums_at;                  /* offset of their first digit in `header`; 0: none */
    char *sums;
    XXH3_state_t *hash;
};

static int complete_tensor(struct st_tensor *t, const char *path, struct err *e)
{
    uint64_t n = 1, bits;
    if (!t->type_name[0])
        strcpy(t->type_name, dtype_name(t->type));
    if (!st_type_bits(t->type_name))
        return err_set(e, "%s: tensor '%s' cannot be stored as type '%s'", path, t->name, t->type_name);
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i] < 0 || __builtin_mul_overflow(n, (uint64_t)t->shape[i], &n) || n > INT64_MAX)
            return err_set(e, "%s: tensor '%s' is too large", path, t->name);
    if (__builtin_mul_overflow(n, (uint64_t)st_type_bits(t->type_name), &bits) || bits % 8)
        return err_set(e, "%s: tensor '%s' does not fill whole bytes", path, t->name);
    t->numel = (int64_t)n;
    t->size = bits / 8;
    return 0;
}

/* Widest types first, so that every tensor is aligned to its elements; then by name. */
static int by_type_and_name(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    int d = st_type_order(y->type_name) - st_type_order(x->type_name);
    return d ? d : strcmp(x->name, y->name);
}

int st_layout(struct st_tensor *tensors, int n, const char *path, uint64_t *size, struct err *e)
{
    *size = 0;
    for (int i = 0; i < n; i++)
        if (complete_tensor(&tensors[i], path, e) < 0)
            return -1;
    if (n)
        qsort(tensors, (size_t)n, sizeof *tensors, by_type_and_name);
    for (int i = 0; i < n; i++) {
        if (i && !strcmp(tensors[i - 1].name, tensors[i].name))
            return err_set(e, "%s: tensor '%s' stands twice", path, tensors[i].name);
        tensors[i].offset = *size;
        if (__builtin_add_overflow(*size, tensors[i].size, size))
            return err_set(e, "%s: the tensors are too large together", path);
    }
    return 0;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct st_meta *)a)->key, ((const struct st_meta *)b)->key);
}

static void add_metadata(struct st_writer *w, struct buf *b, const struct st_meta *meta, int n_meta)
{
    struct st_meta *sorted = mem_array(NULL, (size_t)n_meta, sizeof *sorted);
    memcpy(sorted, meta, (size_t)n_meta * sizeof *sorted);
    qsort(sorted, (size_t)n_meta, sizeof *sorted, by_key);
    buf_add_str(b, "\"__metadata__\":{");
    for (int i = 0; i < n_meta; i++) {
        if (i)
            buf_add_char(b, ',');
        json_add_string(b, sorted[i].key);
        buf_add_char(b, ':');
        if (sorted[i].value) {
            json_add_string(b, sorted[i].value);
        } else {
            size_t digits = SUMS_DIGITS * ((size_t)w->n + 1);
            w->sums = mem_alloc(digits);
            memset(w->sums, '0', digits);
            buf_add_char(b, '"');
            w->sums_at = b->len;
            buf_add(b, w->sums, digits);
            buf_add_char(b, '"');
        }
    }
    buf_add_char(b, '}');
    free(sorted);
}

static int write_header(struct st_writer *w, const struct st_meta *meta, int n_meta, struct err *e)
{
    struct buf b = BUF_INIT;
    unsigned char length[8];
    buf_add_char(&b, '{');
    if (n_meta)
        add_metadata(w, &b, meta, n_meta);
    for (int i = 0; i < w->n; i++) {
        const struct st_tensor *t = &w->tensors[i];
        if (b.len > 1)
            buf_add_char(&b, ',');
        json_add_string(&b, t->name);
        buf_printf(&b, ":{\"dtype\":\"%s\",\"shape\":[", t->type_name);
        for (int k = 0; k < t->ndim; k++)
            buf_printf(&b, "%s%" PRId64, k ? "," : "", t->shape[k]);
        buf_printf(&b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", t->offset, t->offset + t->size);
    }
    buf_add_char(&b, '}');
    while (b.len % 8)
        buf_add_char(&b, ' ');
    w->header_size = b.len;
    w->header = buf_detach(&b);
    if (w->header_size > ST_MAX_HEADER)
        return err_set(e, "%s: a header of %" PRIu64 " bytes is more than the format allows", w->path, w->header_size);
    put_le64(length, w->header_size);
    if (fwrite(length, 1, 8, w->out) != 8 || fwrite(w->header, 1, w->header_size, w->out) != w->header_size)
        return err_sys(e, "%s: cannot write", w->path);
    return 0;
}

/* Past every tensor that is complete (empty ones too), recording its checksum. */
static void finish_tensors(struct st_writer *w)
{
    while (w->current < w->n && w->in_current == w->tensors[w->current].size) {
        w->current++;
        w->in_current = 0;
        if (w->hash) {
            sums_put_hash(w->sums + SUMS_DIGITS * (size_t)w->current, XXH3_128bits_digest(w->hash));
            XXH3_128bits_reset(w->hash);
        }
    }
}

struct st_writer *st_writer_begin(FILE *out, const char *path, struct st_tensor *tensors, int n, const struct st_meta *meta, int n_meta,
                                  struct err *e)
{
    struct st_writer *w = mem_zalloc(1, sizeof *w);
    w->out = out;
    w->path = mem_strdup(path);
    w->tensors = tensors;
    w->n = n;
    if (st_layout(tensors, n, path, &w->data_size, e) < 0 || write_header(w, meta, n_meta, e) < 0) {
        st_writer_free(w);
        return NULL;
    }
    if (w->sums_at) {
        w->hash = XXH3_createState();
        if (!w->hash) {
            err_set(e, "%s: out of memory", path);
            st_writer_free(w);
            return NULL;
        }
        XXH3_128bits_reset(w->hash);
    }
    finish_tensors(w);
    return w;
}

/* Where it cannot be begun early, syncing the file does it all. */
static void write_behind(struct st_writer *w)
{
#ifdef __linux__
    if (w->written - w->on_way < BEHIND)
        return;
    sync_file_range(fileno(w->out), (off_t)(8 + w->header_size + w->on_way), (off_t)(w->written - w->on_way), SYNC_FILE_RANGE_WRITE);
    w->on_way = w->written;
#else
    (void)w;
#endif
}

int st_writer_data(struct st_writer *w, const void *data, size_t len, struct err *e)
{
    const char *p = data;
    if (len > w->data_size - w->written)
        return err_set(e, "%s: more data than the tensors need", w->path);
    for (size_t left = len; left > 0 && w->hash;) {
        uint64_t room = w->tensors[w->current].size - w->in_current;
        size_t part = left < room ? left : (size_t)room;
        XXH3_128bits_update(w->hash, p, part);
        p += part;
        left -= part;
        w->in_current += part;
        finish_tensors(w);
    }
    w->written += len;
    if (fwrite(data, 1, len, w->out) != len)
        return err_sys(e, "%s: cannot write", w->path);
    write_behind(w);
    return 0;
}

static int patch_checksums(struct st_writer *w, struct err *e)
{
    sums_put_hash(w->sums, XXH3_128bits(w->header, w->header_size));
    if (fseek(w->out, 8 + (long)w->sums_at, SEEK_SET) < 0 || fwrite(w->sums, SUMS_DIGITS, (size_t)w->n + 1, w->out) != (size_t)w->n + 1 ||
        fseek(w->out, 0, SEEK_END) < 0)
        return err_sys(e, "%s: cannot write the checksums", w->path);
    return 0;
}

int st_writer_end(struct st_writer *w, struct err *e)
{
    int r = 0;
    if (w->written != w->data_size)
        r = err_set(e, "%s: %" PRIu64 " bytes of data were written, the tensors need %" PRIu64, w->path, w->written, w->data_size);
    else if (w->hash)
        r = patch_checksums(w, e);
    if (r == 0 && fflush(w->out))
        r = err_sys(e, "%s: cannot write", w->path);
    st_writer_free(w);
    return r;
}

void st_writer_free(struct st_writer *w)
{
    if (!w)
        return;
    XXH3_freeState(w->hash);
    free(w->header);
    free(w->sums);
    free(w->path);
    free(w);
}

uint64_t st_writer_size(const struct st_writer *w)
{
    return 8 + w->header_size + w->data_size;
}

int st_write(const char *path, struct st_tensor *tensors, int n, const struct st_meta *meta, int n_meta, struct err *e)
{
    FILE *f = fopen(path, "w+e");
    if (!f)
        return err_sys(e, "%s: cannot write", path);
    struct st_writer *w = st_writer_begin(f, path, tensors, n, meta, n_meta, e);
    int r = w ? 0 : -1;
    for (int i = 0; i < n && r == 0; i++)
        r = st_writer_data(w, tensors[i].data, tensors[i].size, e);
    if (r == 0)
        r = st_writer_end(w, e);
    else
        st_writer_free(w);
    if (fclose(f) != 0 && r == 0)
        r = err_sys(e, "%s: cannot write", path);
    if (r < 0)
        unlink(path);
    return r;
}
