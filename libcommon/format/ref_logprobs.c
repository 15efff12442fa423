#include "format/ref_logprobs.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/version.h"
#include "format/ref_layout.h"

/* ref_logprobs_answer() hands out the values as they lie in the file. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "reference files are mapped: a little-endian machine is needed");

/* A hash of `digits` hexadecimal digits, or "" where that is allowed. */
static int copy_hash(const struct ref_logprobs *r, const json_t *root, const char *key, size_t digits, bool may_be_empty, char *to, struct err *e)
{
    const char *s = json_string_value(json_object_get(root, key));
    size_t n = s ? strlen(s) : 0;
    if (!s || !(n == digits || (n == 0 && may_be_empty)) || strspn(s, "0123456789abcdef") != n)
        return err_set(e, "%s: header: \"%s\" is not %zu hexadecimal digits", r->path, key, digits);
    memcpy(to, s, n + 1);
    return 0;
}

/* Short printable text: it is shown in messages. */
static bool is_label(const char *s, size_t most)
{
    size_t n = s ? strlen(s) : 0;
    for (size_t i = 0; i < n; i++)
        if (s[i] < ' ' || s[i] > '~')
            return false;
    return n > 0 && n <= most;
}

static int fill_provenance(struct ref_logprobs *r, const json_t *root, struct err *e)
{
    struct ref_provenance *p = &r->provenance;
    const char *arithmetic = json_string_value(json_object_get(root, "arithmetic")), *tool = json_string_value(json_object_get(root, "tool"));
    if (copy_hash(r, root, "model", 64, false, p->model, e) < 0 || copy_hash(r, root, "adapter", 64, true, p->adapter, e) < 0 ||
        copy_hash(r, root, "data", 32, false, p->data, e) < 0)
        return -1;
    if (!is_label(arithmetic, REF_ARITHMETIC - 1) || !is_label(tool, 100))
        return err_set(e, "%s: header: \"%s\" is not a short text", r->path, is_label(tool, 100) ? "arithmetic" : "tool");
    memcpy(p->arithmetic, arithmetic, strlen(arithmetic) + 1);
    r->tool = mem_strdup(tool);
    return 0;
}

static int read_provenance(struct ref_logprobs *r, const char *text, size_t len, struct err *e)
{
    json_error_t je;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    int done = json_is_object(root) ? fill_provenance(r, root, e)
                                    : err_set(e, "%s: header: not a JSON object%s%s", r->path, root ? "" : ": ", root ? "" : je.text);
    json_decref(root);
    return done;
}

/* Checks one record at `at`, of which at most `room` bytes are records. Returns its size, or 0. */
static uint64_t check_record(const struct ref_logprobs *r, int64_t i, uint64_t at, uint64_t room, struct err *e)
{
    const unsigned char *d = r->map.data + at;
    long long name = i + 1;
    bool two = r->kind == TOKEN_KIND_PAIRS || r->mismatched;
    uint64_t first = room >= 8 ? get_le32(d) : 0, second = room >= 8 ? get_le32(d + 4) : 0, size = ref_record_size(first, second);
    if (first < 1 || first > TOKEN_FILE_MAX_SAMPLE || second > TOKEN_FILE_MAX_SAMPLE || (second > 0) != two || size > room) {
        err_set(e, "%s: record %lld: its lengths (%llu, %llu) do not fit the kind of the file or the place up to the footer", r->path, name,
                (unsigned long long)first, (unsigned long long)second);
        return 0;
    }
    for (uint64_t k = 0; k < first + second; k++) {
        float value;
        memcpy(&value, d + 8 + 4 * k, 4);
        if (!isfinite(value)) {
            err_set(e, "%s: record %lld: log-probability %llu is %g", r->path, name, (unsigned long long)k + 1, (double)value);
            return 0;
        }
    }
    for (uint64_t k = 8 + 4 * (first + second); k < size; k++)
        if (d[k]) {
            err_set(e, "%s: record %lld: padding is not zero", r->path, name);
            return 0;
        }
    return size;
}

/* Records lie one after another from `at` up to the offsets, each where its offset says. */
static int check_records(const struct ref_logprobs *r, uint64_t at, struct err *e)
{
    uint64_t end = (uint64_t)(r->offsets - r->map.data), values = 0;
    for (int64_t i = 0; i < r->n_samples; i++) {
        if (get_le64(r->offsets + 8 * i) != at)
            return err_set(e, "%s: record %lld: offset in the footer is %llu, expected %llu", r->path, (long long)i + 1,
                           (unsigned long long)get_le64(r->offsets + 8 * i), (unsigned long long)at);
        uint64_t size = check_record(r, i, at, end - at, e);
        if (!size)
            return -1;
        values += (uint64_t)get_le32(r->map.data + at) + get_le32(r->map.data + at + 4);
        at += size;
    }
    if (at != end || values != (uint64_t)r->n_values)
        return err_set(e, "%s: footer: its counts do not agree with the records", r->path);
    return 0;
}

static int read_header(struct ref_logprobs *r, uint64_t *records, struct err *e)
{
    const unsigned char *d = r->map.data;
    size_t size = r->map.size;
    if (size < 8 || memcmp(d, REF_MAGIC, 8) != 0)
        return err_set(e, "%s: not a file of reference log-probabilities (dpo-train --write-ref writes them)", r->path);
    if (size >= 12 && get_le32(d + 8) != VERSION_REF_LOGPROBS)
        return err_set(e, "%s: reference file version %u, this program reads version %d", r->path, get_le32(d + 8), VERSION_REF_LOGPROBS);
    if (size < REF_HEADER_FIXED + REF_TAIL || size % 8 || memcmp(d + size - 8, REF_END_MARK, 8) != 0)
        return err_set(e, "%s: truncated: the last bytes are not an end marker", r->path);
    uint32_t kind = get_le32(d + 12), flags = get_le32(d + 20);
    if ((kind != TOKEN_KIND_PAIRS && kind != TOKEN_KIND_LABELLED) || (flags & ~(uint32_t)REF_MISMATCHED) || (flags && kind != TOKEN_KIND_LABELLED))
        return err_set(e, "%s: kind %u with flags %u, this program reads kinds 1 and 2 (pairs, labelled samples), with flag 1 for the latter", r->path, kind, flags);
    r->kind = (enum token_kind)kind;
    r->mismatched = flags & REF_MISMATCHED;
    uint64_t json = get_le32(d + 16), room = size - REF_HEADER_FIXED - REF_TAIL, padded = (json + 7) & ~(uint64_t)7;
    if (json > REF_MAX_JSON || padded > room)
        return err_set(e, "%s: header: %llu bytes of JSON, expected at most %d and less than the file", r->path, (unsigned long long)json, REF_MAX_JSON);
    *records = REF_HEADER_FIXED + padded;
    for (uint64_t i = REF_HEADER_FIXED + json; i < *records; i++)
        if (d[i])
            return err_set(e, "%s: header: padding at byte %llu is not zero", r->path, (unsigned long long)i);
    return 0;
}

static int check_file(struct ref_logprobs *r, struct err *e)
{
    uint64_t records = 0;
    if (read_header(r, &records, e) < 0)
        return -1;
    const unsigned char *d = r->map.data, *tail = d + r->map.size - REF_TAIL;
    XXH128_canonical_t want;
    XXH128_canonicalFromHash(&want, XXH3_128bits(d, r->map.size - REF_TAIL + REF_TAIL_HASH));
    if (memcmp(want.digest, tail + REF_TAIL_HASH, 16) != 0)
        return err_set(e, "%s: damaged: the contents do not have the hash that the footer names", r->path);
    for (int i = 0; i < 16; i++)
        snprintf(r->hash + 2 * i, 3, "%02x", want.digest[i]);
    uint64_t room = r->map.size - REF_TAIL - records, n = get_le64(tail), values = get_le64(tail + 8);
    if (n > room / (8 + ref_record_size(1, 0)) || values > room / 4)
        return err_set(e, "%s: footer: %llu samples with %llu values do not fit in %llu bytes", r->path, (unsigned long long)n, (unsigned long long)values,
                       (unsigned long long)room);
    r->n_samples = (int64_t)n;
    r->n_values = (int64_t)values;
    r->offsets = tail - 8 * n;
    if (read_provenance(r, (const char *)d + REF_HEADER_FIXED, get_le32(d + 16), e) < 0)
        return -1;
    return check_records(r, records, e);
}

static struct ref_logprobs *finish(struct ref_logprobs *r, struct err *e)
{
    if (check_file(r, e) == 0)
        return r;
    ref_logprobs_close(r);
    return NULL;
}

struct ref_logprobs *ref_logprobs_open(const char *path, struct err *e)
{
    struct ref_logprobs *r = mem_zalloc(1, sizeof *r);
    if (file_map(&r->map, path, e) < 0) {
        free(r);
        return NULL;
    }
    r->path = mem_strdup(strcmp(path, "-") ? path : "stdin");
    return finish(r, e);
}

struct ref_logprobs *ref_logprobs_parse(const void *data, size_t size, const char *name, struct err *e)
{
    struct ref_logprobs *r = mem_zalloc(1, sizeof *r);
    r->map = (struct file_map){data, size, false};
    r->path = mem_strdup(name);
    r->borrowed = true;
    return finish(r, e);
}

void ref_logprobs_close(struct ref_logprobs *r)
{
    if (!r)
        return;
    if (!r->borrowed)
        file_unmap(&r->map);
    free(r->tool);
    free(r->path);
    free(r);
}

struct ref_answer ref_logprobs_answer(const struct ref_logprobs *r, int64_t sample, int answer)
{
    const unsigned char *d = r->map.data + get_le64(r->offsets + 8 * sample);
    const float *values = (const float *)(const void *)(d + 8);
    return answer ? (struct ref_answer){values + get_le32(d), get_le32(d + 4)} : (struct ref_answer){values, get_le32(d)};
}

void ref_answer_sum(const struct ref_answer *y, uint32_t shared, double *first, double *rest)
{
    *first = *rest = 0;
    for (uint32_t i = 0; i < y->n; i++)
        *(i < shared ? first : rest) += (double)y->logp[i];
}

static uint32_t count_trained(const uint8_t *mask, uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += mask[i];
    return count;
}

/* The counts agree when the data's hash does; a file made by another program may still be wrong. */
static int expect_counts(const struct ref_logprobs *r, const struct token_file *tokens, struct err *e)
{
    if (r->n_samples != tokens->n_samples)
        return err_set(e, "%s: has %lld records, %s has %lld", r->path, (long long)r->n_samples, tokens->path, (long long)tokens->n_samples);
    for (int64_t i = 0; i < r->n_samples; i++) {
        struct token_sample s = token_file_sample(tokens, i);
        uint32_t first = count_trained(s.mask + s.prompt, s.chosen), got[2] = {ref_logprobs_answer(r, i, 0).n, ref_logprobs_answer(r, i, 1).n};
        if (got[0] != first || (r->kind == TOKEN_KIND_PAIRS && got[1] != s.trained - first))
            return err_set(e, "%s: record %lld: log-probabilities of %u and %u tokens, %s trains %u and %u", r->path, (long long)i + 1, got[0], got[1], tokens->path, first,
                           s.trained - first);
    }
    return 0;
}

int ref_logprobs_expect(const struct ref_logprobs *r, const struct ref_provenance *want, const struct token_file *tokens, bool mismatched, struct err *e)
{
    const struct ref_provenance *p = &r->provenance;
    if (strcmp(p->model, want->model))
        return err_set(e, "%s: made with another model (fingerprint %.12s, expected %.12s)", r->path, p->model, want->model);
    if (strcmp(p->adapter, want->adapter))
        return err_set(e, "%s: made with %s%.12s, expected %s%.12s", r->path, p->adapter[0] ? "adapter " : "no adapter", p->adapter,
                       want->adapter[0] ? "adapter " : "none", want->adapter);
    if (strcmp(p->data, want->data))
        return err_set(e, "%s: made from other data (token file %.12s, expected %.12s, %s)", r->path, p->data, want->data, tokens->path);
    if (r->kind != tokens->kind)
        return err_set(e, "%s: of %s, expected %s", r->path, token_kind_name(r->kind), token_kind_name(tokens->kind));
    if (strcmp(p->arithmetic, want->arithmetic))
        return err_set(e, "%s: computed in %s, expected %s", r->path, p->arithmetic, want->arithmetic);
    if (mismatched && !r->mismatched)
        return err_set(e, "%s: lacks the mismatched answers that kto needs (write it with --loss kto)", r->path);
    return expect_counts(r, tokens, e);
}
