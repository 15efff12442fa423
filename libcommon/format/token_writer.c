#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/version.h"
#include "format/token_file.h"
#include "format/token_layout.h"

struct token_writer {
    FILE *out;
    char *path;
    enum token_kind kind;
    XXH3_state_t *hash;
    int64_t vocab;
    uint64_t position, n_tokens, n_trained;
    uint32_t longest;
    unsigned char *offsets;
    size_t n_samples, cap_samples;
    unsigned char *record;
    size_t cap_record;
};

static int put(struct token_writer *w, const void *data, size_t len, struct err *e)
{
    if (fwrite(data, 1, len, w->out) != len)
        return err_sys(e, "%s: cannot write", w->path);
    if (XXH3_128bits_update(w->hash, data, len) != XXH_OK)
        return err_set(e, "%s: cannot hash", w->path);
    w->position += len;
    return 0;
}

/* The header's JSON: one compact object with a fixed order of keys. NULL: options are not an object. */
static char *provenance_text(const struct token_provenance *p)
{
    json_t *options = p->options ? json_loads(p->options, JSON_REJECT_DUPLICATES, NULL) : json_object();
    json_t *root = NULL;
    if (json_is_object(options))
        root = json_pack("{s:s, s:s, s:s, s:I, s:O}", "tool", "finetools " FINETOOLS_VERSION, "tokenizer", p->tokenizer,
                         "template", p->template_hash, "vocab", (json_int_t)p->vocab, "options", options);
    json_decref(options);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

static int write_header(struct token_writer *w, const char *json, struct err *e)
{
    static const unsigned char zeros[8];
    size_t len = strlen(json);
    unsigned char fixed[TOKEN_HEADER_FIXED] = {0};
    memcpy(fixed, TOKEN_MAGIC, 8);
    put_le32(fixed + 8, VERSION_TOKEN_FILE);
    put_le32(fixed + 12, w->kind);
    put_le32(fixed + 16, (uint32_t)len);
    if (put(w, fixed, sizeof fixed, e) < 0 || put(w, json, len, e) < 0)
        return -1;
    return put(w, zeros, token_pad8(len) - len, e);
}

struct token_writer *token_writer_begin(FILE *out, const char *path, enum token_kind kind, const struct token_provenance *p, struct err *e)
{
    char *json = provenance_text(p);
    if (!json || strlen(json) > TOKEN_MAX_JSON || p->vocab < 1 || p->vocab > TOKEN_FILE_MAX_VOCAB) {
        err_set(e, "%s: options are not a JSON object of at most %d bytes, or the vocabulary has not 1 to %d tokens", path, TOKEN_MAX_JSON,
                TOKEN_FILE_MAX_VOCAB);
        free(json);
        return NULL;
    }
    struct token_writer *w = mem_zalloc(1, sizeof *w);
    w->out = out;
    w->kind = kind;
    w->path = mem_strdup(path);
    w->vocab = p->vocab;
    w->hash = XXH3_createState();
    if (!w->hash || XXH3_128bits_reset(w->hash) != XXH_OK)
        err_set(e, "%s: cannot hash", path);
    else if (write_header(w, json, e) == 0) {
        free(json);
        return w;
    }
    free(json);
    token_writer_free(w);
    return NULL;
}

/* The record in w->record, with its padding. Returns its size, or 0. */
static size_t make_record(struct token_writer *w, const struct token_sample *s, struct err *e)
{
    size_t size = token_record_size(w->kind, s->n), head = token_record_head(w->kind);
    w->record = mem_grow(w->record, &w->cap_record, size, 1);
    unsigned char *r = w->record, *m = r + head + 4 * (size_t)s->n;
    memset(m, 0, size - head - 4 * (size_t)s->n);
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->ids[i] >= w->vocab) {
            err_set(e, "%s: record %zu: token %u is outside the vocabulary of %lld", w->path, w->n_samples + 1, s->ids[i], (long long)w->vocab);
            return 0;
        }
        put_le32(r + head + 4 * (size_t)i, s->ids[i]);
        m[i] = s->mask[i] != 0;
    }
    put_le32(r, s->n);
    put_le32(r + 4, s->trained);
    if (head > 8) {
        put_le32(r + 8, s->prompt);
        put_le32(r + 12, w->kind == TOKEN_KIND_PAIRS ? s->chosen : s->label);
    }
    return size;
}

int token_writer_put(struct token_writer *w, const struct token_sample *given, struct err *e)
{
    struct token_sample s = *given;
    if (s.n < 1 || s.n > TOKEN_FILE_MAX_SAMPLE)
        return err_set(e, "%s: record %zu: %u tokens, expected 1 to %d", w->path, w->n_samples + 1, s.n, TOKEN_FILE_MAX_SAMPLE);
    s.trained = 0;
    for (uint32_t i = 0; i < s.n; i++)
        s.trained += s.mask[i] != 0;
    const char *fault = token_record_fault(w->kind, &s);
    if (fault)
        return err_set(e, "%s: record %zu: %s", w->path, w->n_samples + 1, fault);
    size_t size = make_record(w, &s, e);
    if (!size)
        return -1;
    w->offsets = mem_grow(w->offsets, &w->cap_samples, w->n_samples + 1, 8);
    put_le64(w->offsets + 8 * w->n_samples++, w->position);
    uint32_t length = token_sample_length(&s, w->kind);
    w->n_tokens += s.n;
    w->n_trained += s.trained;
    w->longest = length > w->longest ? length : w->longest;
    return put(w, w->record, size, e);
}

int token_writer_add(struct token_writer *w, const uint32_t *ids, const uint8_t *mask, uint32_t n, struct err *e)
{
    return token_writer_put(w, &(struct token_sample){.ids = ids, .mask = mask, .n = n}, e);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int token_writer_end(struct token_writer *w, const char *input, struct err *e)
{
    unsigned char tail[TOKEN_TAIL] = {0};
    int r = -1;
    for (int i = 0; i < 32; i++) {
        int high = hex_digit(input[2 * i]), low = high < 0 ? -1 : hex_digit(input[2 * i + 1]);
        if (low < 0) {
            err_set(e, "%s: the input's hash is not 64 hexadecimal digits", w->path);
            goto out;
        }
        tail[i] = (unsigned char)(high << 4 | low);
    }
    put_le64(tail + 32, w->n_samples);
    put_le64(tail + 40, w->n_tokens);
    put_le64(tail + 48, w->n_trained);
    put_le32(tail + 56, w->longest);
    if ((w->n_samples && put(w, w->offsets, 8 * w->n_samples, e) < 0) || put(w, tail, TOKEN_TAIL_HASH, e) < 0)
        goto out;
    XXH128_canonical_t digest;
    XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(w->hash));
    if (put(w, digest.digest, 16, e) < 0 || put(w, TOKEN_END_MARK, 8, e) < 0)
        goto out;
    if (fflush(w->out) != 0) {
        err_sys(e, "%s: cannot write", w->path);
        goto out;
    }
    r = 0;
out:
    token_writer_free(w);
    return r;
}

void token_writer_free(struct token_writer *w)
{
    if (!w)
        return;
    XXH3_freeState(w->hash);
    free(w->path);
    free(w->offsets);
    free(w->record);
    free(w);
}
