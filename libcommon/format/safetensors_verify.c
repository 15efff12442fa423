/* Comparing safetensors files with the checksums that they carry. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/safetensors.h"
#include "format/safetensors_sums.h"

#define PIECE ((uint64_t)1 << 22) /* bytes that are resident at once */

struct st_check {
    const struct st_file *file;
    const struct st_tensor *tensor;
    const char *want; /* SUMS_DIGITS, in the file's metadata */
    XXH3_state_t *hash;
};

void sums_put_hash(char to[SUMS_DIGITS], XXH128_hash_t h)
{
    char text[SUMS_DIGITS + 1];
    snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
    memcpy(to, text, SUMS_DIGITS);
}

int st_verify_header(const struct st_file *f, struct err *e)
{
    const char *sums = st_meta(f, ST_CHECKSUMS), *data = (const char *)f->map.data + 8;
    size_t digits = SUMS_DIGITS * ((size_t)f->n_tensors + 1), n = get_le64(f->map.data);
    if (!sums)
        return 0;
    if (strlen(sums) != digits)
        return err_set(e, "%s: checksums of %zu digits, %d tensors need %zu", f->path, strlen(sums), f->n_tensors, digits);
    const char *at = memmem(data, n, sums, digits);
    char want[SUMS_DIGITS];
    if (at) {
        char *copy = mem_alloc(n);
        memcpy(copy, data, n);
        memset(copy + (at - data), '0', digits);
        sums_put_hash(want, XXH3_128bits(copy, n));
        free(copy);
    }
    return at && !memcmp(want, sums, SUMS_DIGITS) ? 1 : err_set(e, "%s: the header is damaged: its checksum differs", f->path);
}

/* ---- one tensor ---- */

struct st_check *st_check_begin(const struct st_file *f, const struct st_tensor *t)
{
    const char *sums = st_meta(f, ST_CHECKSUMS);
    if (!sums || strlen(sums) != SUMS_DIGITS * ((size_t)f->n_tensors + 1))
        return NULL;
    struct st_check *c = mem_alloc(sizeof *c);
    *c = (struct st_check){f, t, sums + SUMS_DIGITS * ((size_t)t->place + 1), XXH3_createState()};
    if (!c->hash)
        mem_alloc(SIZE_MAX / 2); /* ends the program as every lack of memory does */
    XXH3_128bits_reset(c->hash);
    return c;
}

void st_check_add(struct st_check *c, const void *data, size_t len)
{
    if (c)
        XXH3_128bits_update(c->hash, data, len);
}

int st_check_end(struct st_check *c, struct err *e)
{
    char got[SUMS_DIGITS];
    if (!c)
        return 0;
    sums_put_hash(got, XXH3_128bits_digest(c->hash));
    int r = memcmp(got, c->want, SUMS_DIGITS) ? err_set(e, "%s: tensor '%s' is damaged: its checksum differs", c->file->path, c->tensor->name) : 0;
    st_check_free(c);
    return r;
}

void st_check_free(struct st_check *c)
{
    if (!c)
        return;
    XXH3_freeState(c->hash);
    free(c);
}

/* ---- all of them ---- */

static int verify_tensor(const struct st_file *f, const struct st_tensor *t, struct err *e)
{
    struct st_check *c = st_check_begin(f, t);
    for (uint64_t at = 0; at < t->size; at += PIECE) {
        uint64_t n = t->size - at < PIECE ? t->size - at : PIECE;
        st_check_add(c, (const char *)t->data + at, (size_t)n);
        st_drop(f, (const char *)t->data + at, n);
    }
    return st_check_end(c, e);
}

int st_verify(const struct st_file *f, struct err *e)
{
    int header = st_verify_header(f, e);
    if (header <= 0)
        return header;
    const struct st_tensor **list = st_file_order(f);
    int damaged = f->n_tensors;
#pragma omp parallel for schedule(dynamic) reduction(min : damaged)
    for (int i = 0; i < f->n_tensors; i++) {
        struct err why = ERR_INIT;
        if (i < damaged && verify_tensor(f, list[i], &why) < 0)
            damaged = i;
    }
    int r = damaged < f->n_tensors ? verify_tensor(f, list[damaged], e) : 1;
    free(list);
    return r;
}
