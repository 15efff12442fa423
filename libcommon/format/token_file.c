#include "format/token_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/version.h"
#include "format/token_layout.h"

/* token_file_sample() hands out the ids as they lie in the file. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "token files are mapped: a little-endian machine is needed");

/* A hash in the JSON: 64 hexadecimal digits, or "" where that is allowed. */
static int copy_hash(const struct token_file *t, const json_t *root, const char *key, bool may_be_empty, char to[SHA256_HEX], struct err *e)
{
    const char *s = json_string_value(json_object_get(root, key));
    size_t n = s ? strlen(s) : 0;
    if (!s || !(n == 64 || (n == 0 && may_be_empty)) || strspn(s, "0123456789abcdef") != n)
        return err_set(e, "%s: header: \"%s\" is not a SHA-256 in hexadecimal", t->path, key);
    memcpy(to, s, n + 1);
    return 0;
}

static int read_provenance(struct token_file *t, const char *text, size_t len, struct err *e)
{
    json_error_t je;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(root)) {
        err_set(e, "%s: header: provenance is not a JSON object%s%s", t->path, root ? "" : ": ", root ? "" : je.text);
        json_decref(root);
        return -1;
    }
    int r = -1;
    json_t *vocab = json_object_get(root, "vocab"), *options = json_object_get(root, "options");
    if (copy_hash(t, root, "tokenizer", false, t->provenance.tokenizer, e) < 0 ||
        copy_hash(t, root, "template", true, t->provenance.template_hash, e) < 0)
        goto out;
    if (!json_is_integer(vocab) || json_integer_value(vocab) < 1 || json_integer_value(vocab) > TOKEN_FILE_MAX_VOCAB) {
        err_set(e, "%s: header: \"vocab\" is not a number from 1 to %d", t->path, TOKEN_FILE_MAX_VOCAB);
        goto out;
    }
    if (!json_is_object(options)) {
        err_set(e, "%s: header: \"options\" is not an object", t->path);
        goto out;
    }
    t->provenance.vocab = json_integer_value(vocab);
    t->provenance.options = json_dumps(options, JSON_COMPACT);
    r = 0;
out:
    json_decref(root);
    return r;
}

static struct token_sample view(enum token_kind kind, const unsigned char *r)
{
    uint32_t n = get_le32(r);
    const unsigned char *ids = r + token_record_head(kind);
    struct token_sample s = {.ids = (const uint32_t *)(const void *)ids, .mask = ids + 4 * (size_t)n, .n = n, .trained = get_le32(r + 4)};
    if (kind == TOKEN_KIND_SAMPLES)
        return s;
    s.prompt = get_le32(r + 8);
    s.chosen = kind == TOKEN_KIND_PAIRS ? get_le32(r + 12) : n - s.prompt;
    s.label = kind == TOKEN_KIND_LABELLED && get_le32(r + 12) == 1;
    return s;
}

/* What breaks the rules of the record at r, or NULL. `trained`, `odd`: the sum of its mask bytes, and their other bits and the padding. */
static const char *fault(const struct token_file *t, const unsigned char *r, uint32_t trained, uint32_t odd)
{
    struct token_sample s = view(t->kind, r);
    uint32_t told = s.trained;
    s.trained = trained;
    if (odd)
        return "a mask byte is not 0 or 1, or padding is not zero";
    if (t->kind == TOKEN_KIND_LABELLED && get_le32(r + 12) > 1)
        return "the label is not 0 or 1";
    const char *what = token_record_fault(t->kind, &s);
    return what ? what : told == trained ? NULL : "the count of trained tokens is wrong";
}

/* Checks one record at `at`, of which at most `room` bytes are records. Returns its size, or 0. */
static uint64_t check_record(const struct token_file *t, int64_t i, uint64_t at, uint64_t room, struct err *e)
{
    const unsigned char *r = t->map.data + at;
    long long name = i + 1;
    uint64_t head = token_record_head(t->kind);
    uint32_t n = room >= head ? get_le32(r) : 0;
    if (n < 1 || n > TOKEN_FILE_MAX_SAMPLE || token_record_size(t->kind, n) > room) {
        err_set(e, "%s: record %lld: does not fit between byte %llu and the footer", t->path, name, (unsigned long long)at);
        return 0;
    }
    uint64_t size = token_record_size(t->kind, n);
    const unsigned char *mask = r + head + 4 * (uint64_t)n;
    uint32_t vocab = (uint32_t)t->provenance.vocab, trained = 0, odd = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t id = get_le32(r + head + 4 * (uint64_t)k);
        if (id >= vocab) {
            err_set(e, "%s: record %lld: token %u is outside the vocabulary of %u", t->path, name, id, vocab);
            return 0;
        }
        odd |= mask[k] & ~1u;
        trained += mask[k];
    }
    for (const unsigned char *p = mask + n; p < r + size; p++)
        odd |= *p;
    const char *what = fault(t, r, trained, odd);
    if (!what)
        return size;
    err_set(e, "%s: record %lld: %s", t->path, name, what);
    return 0;
}

/* Records lie one after another from `at` up to the offsets, each where its offset says. */
static int check_records(const struct token_file *t, uint64_t at, const unsigned char *tail, struct err *e)
{
    uint64_t end = (uint64_t)(t->offsets - t->map.data), tokens = 0, trained = 0;
    uint32_t longest = 0;
    for (int64_t i = 0; i < t->n_samples; i++) {
        if (get_le64(t->offsets + 8 * i) != at)
            return err_set(e, "%s: record %lld: offset in the footer is %llu, expected %llu", t->path, (long long)i + 1,
                           (unsigned long long)get_le64(t->offsets + 8 * i), (unsigned long long)at);
        uint64_t size = check_record(t, i, at, end - at, e);
        if (!size)
            return -1;
        struct token_sample s = view(t->kind, t->map.data + at);
        uint32_t length = token_sample_length(&s, t->kind);
        tokens += s.n;
        trained += s.trained;
        longest = length > longest ? length : longest;
        at += size;
    }
    if (at != end || tokens != get_le64(tail + 40) || trained != get_le64(tail + 48) || longest != get_le32(tail + 56))
        return err_set(e, "%s: footer: its counts do not agree with the records", t->path);
    return 0;
}

/* The hash that the tail ending at `end` must hold. */
static void hash_until(const unsigned char *d, size_t end, XXH128_canonical_t *want)
{
    XXH128_canonicalFromHash(want, XXH3_128bits(d, end - TOKEN_TAIL + TOKEN_TAIL_HASH));
}

/* The file does not end as it should. When a whole token file is the beginning of it, say so: something was appended. */
static int bad_end(const struct token_file *t, const char *otherwise, struct err *e)
{
    enum { TRIES = 8 }; /* each hashes what is before it */
    const unsigned char *d = t->map.data;
    XXH128_canonical_t want;
    int tries = 0;
    for (size_t end = (t->map.size - 1) & ~(size_t)7; end >= TOKEN_HEADER_FIXED + TOKEN_TAIL && tries < TRIES; end -= 8) {
        if (memcmp(d + end - 8, TOKEN_END_MARK, 8) != 0)
            continue;
        hash_until(d, end, &want);
        if (!memcmp(want.digest, d + end - TOKEN_TAIL + TOKEN_TAIL_HASH, 16))
            return err_set(e, "%s: the token file ends at byte %zu, but %zu bytes come after its end (was something appended?)", t->path, end,
                           t->map.size - end);
        tries++;
    }
    return err_set(e, "%s: %s", t->path, otherwise);
}

static int read_header(struct token_file *t, uint64_t *records, struct err *e)
{
    const unsigned char *d = t->map.data;
    size_t size = t->map.size;
    if (size == 0)
        return err_set(e, "%s: is empty (did the program that writes it fail?)", t->path);
    if (size < 8 || memcmp(d, TOKEN_MAGIC, 8) != 0)
        return err_set(e, "%s: not a token file (tok-encode writes them)", t->path);
    if (size >= 12 && get_le32(d + 8) != VERSION_TOKEN_FILE)
        return err_set(e, "%s: token file version %u, this program reads version %d", t->path, get_le32(d + 8), VERSION_TOKEN_FILE);
    if (size < TOKEN_HEADER_FIXED + TOKEN_TAIL || memcmp(d + size - 8, TOKEN_END_MARK, 8) != 0 || size % 8)
        return bad_end(t, "truncated: the last bytes are not an end marker", e);
    if (get_le32(d + 12) > TOKEN_KIND_LABELLED)
        return err_set(e, "%s: records of kind %u, this program reads kinds 0 to %d", t->path, get_le32(d + 12), TOKEN_KIND_LABELLED);
    t->kind = (enum token_kind)get_le32(d + 12);
    uint64_t json = get_le32(d + 16), room = size - TOKEN_HEADER_FIXED - TOKEN_TAIL;
    if (json > TOKEN_MAX_JSON || token_pad8(json) > room || get_le32(d + 20) != 0)
        return err_set(e, "%s: header: %llu bytes of provenance, expected at most %d and less than the file", t->path, (unsigned long long)json, TOKEN_MAX_JSON);
    *records = TOKEN_HEADER_FIXED + token_pad8(json);
    for (uint64_t i = TOKEN_HEADER_FIXED + json; i < *records; i++)
        if (d[i])
            return err_set(e, "%s: header: padding at byte %llu is not zero", t->path, (unsigned long long)i);
    return 0;
}

static int check_file(struct token_file *t, struct err *e)
{
    uint64_t records = 0;
    if (read_header(t, &records, e) < 0)
        return -1;
    const unsigned char *d = t->map.data, *tail = d + t->map.size - TOKEN_TAIL;
    uint64_t room = t->map.size - TOKEN_TAIL - records, n = get_le64(tail + 32);
    if (n > room / (8 + token_record_size(t->kind, 1)))
        return err_set(e, "%s: footer: %llu samples do not fit in %llu bytes", t->path, (unsigned long long)n, (unsigned long long)room);
    XXH128_canonical_t want;
    hash_until(d, t->map.size, &want);
    if (memcmp(want.digest, tail + TOKEN_TAIL_HASH, 16) != 0)
        return bad_end(t, "damaged: the contents do not have the hash that the footer names", e);
    for (int i = 0; i < 16; i++)
        snprintf(t->hash + 2 * i, 3, "%02x", want.digest[i]);
    for (int i = 0; i < 32; i++)
        snprintf(t->provenance.input + 2 * i, 3, "%02x", tail[i]);
    for (int i = 60; i < TOKEN_TAIL_HASH; i++)
        if (tail[i])
            return err_set(e, "%s: footer: reserved bytes are not zero", t->path);
    t->n_samples = (int64_t)n;
    t->n_tokens = (int64_t)get_le64(tail + 40);
    t->n_trained = (int64_t)get_le64(tail + 48);
    t->longest = get_le32(tail + 56);
    t->offsets = tail - 8 * n;
    if (read_provenance(t, (const char *)d + TOKEN_HEADER_FIXED, get_le32(d + 16), e) < 0)
        return -1;
    return check_records(t, records, tail, e);
}

static struct token_file *finish(struct token_file *t, struct err *e)
{
    if (check_file(t, e) == 0)
        return t;
    token_file_close(t);
    return NULL;
}

struct token_file *token_file_open(const char *path, struct err *e)
{
    struct token_file *t = mem_zalloc(1, sizeof *t);
    if (file_map(&t->map, path, e) < 0) {
        free(t);
        return NULL;
    }
    t->path = mem_strdup(strcmp(path, "-") ? path : "stdin");
    return finish(t, e);
}

struct token_file *token_file_parse(const void *data, size_t size, const char *name, struct err *e)
{
    struct token_file *t = mem_zalloc(1, sizeof *t);
    t->map = (struct file_map){data, size, false};
    t->path = mem_strdup(name);
    t->borrowed = true;
    return finish(t, e);
}

void token_file_close(struct token_file *t)
{
    if (!t)
        return;
    if (!t->borrowed)
        file_unmap(&t->map);
    free(t->provenance.options);
    free(t->path);
    free(t);
}

struct token_sample token_file_sample(const struct token_file *t, int64_t i)
{
    return view(t->kind, t->map.data + get_le64(t->offsets + 8 * i));
}

int token_file_expect(const struct token_file *t, enum token_kind kind, struct err *e)
{
    static const char *const how[] = {[TOKEN_KIND_SAMPLES] = "dpo-train takes these; samples come from fmt-chat without -F pairs or kto",
                                      [TOKEN_KIND_PAIRS] = "made with fmt-chat -F pairs",
                                      [TOKEN_KIND_LABELLED] = "made with fmt-chat -F kto"};
    if (t->kind == kind)
        return 0;
    return err_set(e, "%s: holds %s, expected %s (%s)", t->path, token_kind_name(t->kind), token_kind_name(kind), how[kind]);
}

double token_file_attended(const struct token_file *t)
{
    double pairs = 0;
    for (int64_t i = 0; i < t->n_samples; i++) {
        double n = token_file_sample(t, i).n;
        pairs += n * (n + 1) / 2;
    }
    return pairs;
}
