#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/version.h"
#include "format/ref_layout.h"
#include "format/ref_logprobs.h"

struct ref_writer {
    FILE *out;
    char *path;
    enum token_kind kind;
    bool mismatched;
    XXH3_state_t *hash;
    uint64_t position, n_values;
    unsigned char *offsets;
    size_t n_samples, cap_samples;
};

static int put(struct ref_writer *w, const void *data, size_t len, struct err *e)
{
    if (len && fwrite(data, 1, len, w->out) != len)
        return err_sys(e, "%s: cannot write", w->path);
    if (XXH3_128bits_update(w->hash, data, len) != XXH_OK)
        return err_set(e, "%s: cannot hash", w->path);
    w->position += len;
    return 0;
}

static int put_padding(struct ref_writer *w, struct err *e)
{
    static const unsigned char zeros[8];
    return put(w, zeros, (size_t)(-w->position & 7), e);
}

static int write_header(struct ref_writer *w, const struct ref_provenance *p, struct err *e)
{
    unsigned char fixed[REF_HEADER_FIXED] = {0};
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:s}", "tool", "finetools " FINETOOLS_VERSION, "model", p->model, "adapter", p->adapter, "data",
                             p->data, "arithmetic", p->arithmetic);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text)
        return err_set(e, "%s: what the reference depends on is not text", w->path);
    memcpy(fixed, REF_MAGIC, 8);
    put_le32(fixed + 8, VERSION_REF_LOGPROBS);
    put_le32(fixed + 12, w->kind);
    put_le32(fixed + 16, (uint32_t)strlen(text));
    put_le32(fixed + 20, w->mismatched ? REF_MISMATCHED : 0);
    int r = put(w, fixed, sizeof fixed, e);
    r = r < 0 ? r : put(w, text, strlen(text), e);
    free(text);
    return r < 0 ? r : put_padding(w, e);
}

struct ref_writer *ref_writer_begin(FILE *out, const char *path, enum token_kind kind, bool mismatched, const struct ref_provenance *p, struct err *e)
{
    struct ref_writer *w = mem_zalloc(1, sizeof *w);
    w->out = out;
    w->path = mem_strdup(path);
    w->kind = kind;
    w->mismatched = mismatched;
    w->hash = XXH3_createState();
    if (kind == TOKEN_KIND_SAMPLES || (mismatched && kind != TOKEN_KIND_LABELLED))
        err_set(e, "%s: a reference is of pairs or of labelled samples, and only of these can answers be mismatched", path);
    else if (!w->hash || XXH3_128bits_reset(w->hash) != XXH_OK)
        err_set(e, "%s: cannot hash", path);
    else if (write_header(w, p, e) == 0)
        return w;
    ref_writer_free(w);
    return NULL;
}

static int put_values(struct ref_writer *w, const float *values, uint32_t n, struct err *e)
{
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return err_set(e, "%s: record %zu: log-probability %u is %g", w->path, w->n_samples, i + 1, (double)values[i]);
    return put(w, values, 4 * (size_t)n, e);
}

int ref_writer_add(struct ref_writer *w, const float *first, uint32_t n_first, const float *second, uint32_t n_second, struct err *e)
{
    bool two = w->kind == TOKEN_KIND_PAIRS || w->mismatched;
    unsigned char head[8];
    w->offsets = mem_grow(w->offsets, &w->cap_samples, w->n_samples + 1, 8);
    put_le64(w->offsets + 8 * w->n_samples++, w->position);
    if (n_first < 1 || n_first > TOKEN_FILE_MAX_SAMPLE || n_second > TOKEN_FILE_MAX_SAMPLE || two != (n_second > 0))
        return err_set(e, "%s: record %zu: %u and %u trained tokens, expected %s", w->path, w->n_samples, n_first, n_second,
                       two ? "at least one of each answer" : "those of one answer");
    put_le32(head, n_first);
    put_le32(head + 4, n_second);
    w->n_values += (uint64_t)n_first + n_second;
    if (put(w, head, 8, e) < 0 || put_values(w, first, n_first, e) < 0 || put_values(w, second, n_second, e) < 0)
        return -1;
    return put_padding(w, e);
}

int ref_writer_end(struct ref_writer *w, struct err *e)
{
    unsigned char counts[REF_TAIL_HASH];
    XXH128_canonical_t digest;
    put_le64(counts, w->n_samples);
    put_le64(counts + 8, w->n_values);
    int r = put(w, w->offsets, 8 * w->n_samples, e);
    r = r < 0 ? r : put(w, counts, sizeof counts, e);
    XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(w->hash));
    r = r < 0 ? r : put(w, digest.digest, 16, e);
    r = r < 0 ? r : put(w, REF_END_MARK, 8, e);
    if (r == 0 && fflush(w->out) != 0)
        r = err_sys(e, "%s: cannot write", w->path);
    ref_writer_free(w);
    return r;
}

void ref_writer_free(struct ref_writer *w)
{
    if (!w)
        return;
    XXH3_freeState(w->hash);
    free(w->path);
    free(w->offsets);
    free(w);
}
