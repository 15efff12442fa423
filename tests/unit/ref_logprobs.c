/* format/ref_logprobs: what is written is read again; every mismatch, damage and hostile size is refused; the worked example of ref-logprobs(5); the
 * adapter's identity. */
#include "format/ref_logprobs.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/adapter.h"
#include "format/ref_layout.h"
#include "tests/unit/page_listing.h"
#include "tests/tools/tail_hash.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tap.h"
#include "train/inspect.h"

static const float chosen[] = {-0.5f, -1.25f, -2}, rejected[] = {-3, -0.125f};

static struct ref_provenance provenance(void)
{
    struct ref_provenance p = {.data = "00112233445566778899aabbccddeeff", .arithmetic = "bf16"};
    sha256_hex("model", 5, p.model);
    return p;
}

/* Two records: 3 and 2 values, 1 and 1 (labelled without mismatched answers: none in second place). The caller frees. */
static unsigned char *make_file(enum token_kind kind, bool mismatched, const struct ref_provenance *p, size_t *size)
{
    char *bytes = NULL;
    struct err e = ERR_INIT;
    bool two = kind == TOKEN_KIND_PAIRS || mismatched;
    FILE *out = open_memstream(&bytes, size);
    struct ref_writer *w = ref_writer_begin(out, "memory", kind, mismatched, p, &e);
    if (!w || ref_writer_add(w, chosen, 3, rejected, two ? 2 : 0, &e) < 0 || ref_writer_add(w, chosen, 1, rejected, two ? 1 : 0, &e) < 0 || ref_writer_end(w, &e) < 0)
        printf("# %s\n", e.text);
    fclose(out);
    return (unsigned char *)bytes;
}

static void test_round_trip(void)
{
    struct ref_provenance p = provenance();
    struct err e = ERR_INIT;
    size_t size;
    unsigned char *d = make_file(TOKEN_KIND_PAIRS, false, &p, &size);
    struct ref_logprobs *r = ref_logprobs_parse(d, size, "x", &e);
    if (!ok(r != NULL, "a file of pairs is read: %s", e.text))
        return;
    struct ref_answer a = ref_logprobs_answer(r, 0, 0), b = ref_logprobs_answer(r, 0, 1), c = ref_logprobs_answer(r, 1, 1);
    ok(r->n_samples == 2 && r->n_values == 7 && r->kind == TOKEN_KIND_PAIRS && !r->mismatched, "counts and kind");
    ok(a.n == 3 && !memcmp(a.logp, chosen, sizeof chosen) && b.n == 2 && !memcmp(b.logp, rejected, sizeof rejected) && c.n == 1 && c.logp[0] == -3, "values");
    double first, rest;
    ref_answer_sum(&a, 2, &first, &rest);
    ok(first == -1.75 && rest == -2, "sums of the shared tokens and of the rest");
    ok(!strcmp(r->provenance.model, p.model) && !strcmp(r->provenance.data, p.data) && !strcmp(r->provenance.arithmetic, "bf16") && !r->provenance.adapter[0], "provenance");
    ok(!strncmp(r->tool, "finetools ", 10) && strlen(r->hash) == 32, "tool and hash");
    ref_logprobs_close(r);
    free(d);
    d = make_file(TOKEN_KIND_LABELLED, true, &p, &size);
    r = ref_logprobs_parse(d, size, "x", &e);
    ok(r && r->mismatched && ref_logprobs_answer(r, 0, 1).n == 2, "labelled samples with mismatched answers");
    ref_logprobs_close(r);
    free(d);
    d = make_file(TOKEN_KIND_LABELLED, false, &p, &size);
    r = ref_logprobs_parse(d, size, "x", &e);
    ok(r && !r->mismatched && ref_logprobs_answer(r, 0, 1).n == 0 && ref_logprobs_answer(r, 0, 0).n == 3, "and without");
    ref_logprobs_close(r);
    free(d);
}

/* A token file of two pairs with 3 + 2 and 1 + 1 trained tokens, or, where `wrong`, 1 + 2 in the second. */
static struct token_file *make_tokens(unsigned char **d, bool wrong)
{
    static const uint32_t ids[] = {1, 2, 3, 4, 5, 6, 7};
    struct token_provenance p = {.vocab = 10};
    sha256_hex("tokenizer", 9, p.tokenizer);
    char *bytes = NULL;
    size_t size;
    struct err e = ERR_INIT;
    FILE *out = open_memstream(&bytes, &size);
    struct token_writer *w = token_writer_begin(out, "pairs.tok", TOKEN_KIND_PAIRS, &p, &e);
    struct token_sample s = {.ids = ids, .mask = (const uint8_t *)"\0\1\1\1\1\1", .n = 6, .prompt = 1, .chosen = 3};
    struct token_sample t = {.ids = ids, .mask = (const uint8_t *)(wrong ? "\0\1\1\1" : "\0\1\1\0"), .n = 4, .prompt = 1, .chosen = 1};
    if (!w || token_writer_put(w, &s, &e) < 0 || token_writer_put(w, &t, &e) < 0 || token_writer_end(w, p.tokenizer, &e) < 0)
        printf("# %s\n", e.text);
    fclose(out);
    *d = (unsigned char *)bytes;
    return token_file_parse(bytes, size, "pairs.tok", &e);
}

static void expected(const struct ref_logprobs *r, const struct ref_provenance *p, const struct token_file *t, bool mismatched, const char *text)
{
    struct err e = ERR_INIT;
    int got = ref_logprobs_expect(r, p, t, mismatched, &e);
    is_str(got < 0 ? e.text : "fits", text, text);
}

static void test_expect(void)
{
    unsigned char *td, *wd;
    struct token_file *t = make_tokens(&td, false), *w = make_tokens(&wd, true);
    struct ref_provenance p = provenance(), q;
    struct err e = ERR_INIT;
    size_t size, labelled_size;
    sha256_hex("adapter", 7, p.adapter);
    unsigned char *d = make_file(TOKEN_KIND_PAIRS, false, &p, &size), *l = make_file(TOKEN_KIND_LABELLED, false, &p, &labelled_size);
    struct ref_logprobs *r = ref_logprobs_parse(d, size, "r", &e), *n = ref_logprobs_parse(l, labelled_size, "l", &e);
    if (!ok(t && w && r && n, "files to compare: %s", e.text))
        return;
    expected(r, &p, t, false, "fits");
    q = p;
    sha256_hex("other", 5, q.model);
    expected(r, &q, t, false, "r: made with another model (fingerprint 9372c470eead, expected d9298a10d1b0)");
    q = p;
    q.adapter[0] = 0;
    expected(r, &q, t, false, "r: made with adapter ae1eae1d76e5, expected none");
    q = p;
    q.data[0] = 'f';
    expected(r, &q, t, false, "r: made from other data (token file 001122334455, expected f01122334455, pairs.tok)");
    q = p;
    strcpy(q.arithmetic, "f32");
    expected(r, &q, t, false, "r: computed in bf16, expected f32");
    expected(n, &p, t, false, "l: of labelled samples, expected pairs");
    expected(r, &p, w, false, "r: record 2: log-probabilities of 1 and 1 tokens, pairs.tok trains 1 and 2");
    n->kind = TOKEN_KIND_PAIRS; /* as a file of another program could be */
    expected(n, &p, t, true, "l: lacks the mismatched answers that kto needs (write it with --loss kto)");
    n->n_samples = 1;
    expected(n, &p, t, false, "l: has 1 records, pairs.tok has 2");
    ref_logprobs_close(r);
    ref_logprobs_close(n);
    token_file_close(t);
    token_file_close(w);
    free(td);
    free(wd);
    free(d);
    free(l);
}

static bool opens(const unsigned char *d, size_t size, struct err *e)
{
    *e = (struct err)ERR_INIT;
    struct ref_logprobs *r = ref_logprobs_parse(d, size, "x", e);
    ref_logprobs_close(r);
    return r != NULL;
}

static void test_damage(void)
{
    struct ref_provenance p = provenance();
    struct err e;
    size_t size, passed = 0;
    unsigned char *d = make_file(TOKEN_KIND_PAIRS, false, &p, &size);
    for (size_t i = 0; i < size * 8; i++) {
        d[i / 8] ^= (unsigned char)(1 << i % 8);
        passed += opens(d, size, &e);
        d[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    is_int((long long)passed, 0, "every flipped bit is noticed");
    for (size_t n = 0; n < size; n++) {
        unsigned char *copy = mem_alloc(n); /* exactly n bytes, for sanitizers */
        memcpy(copy, d, n);
        passed += opens(copy, n, &e);
        free(copy);
    }
    is_int((long long)passed, 0, "every truncation is noticed");
    ok(opens(d, size, &e), "the file itself opens");
    free(d);
}

/* Changes 4 bytes at `at` (from the end where negative), makes the hash right. */
static void hostile(long at, uint32_t value, const char *text)
{
    struct ref_provenance p = provenance();
    struct err e;
    size_t size;
    unsigned char *d = make_file(TOKEN_KIND_PAIRS, false, &p, &size);
    put_le32(at < 0 ? d + size + at : d + at, value);
    tail_hash_fix(d, size, REF_TAIL - REF_TAIL_HASH);
    bool opened = opens(d, size, &e);
    if (!ok(!opened && strstr(e.text, text), "refused: %s", text))
        printf("# %s\n", opened ? "accepted" : e.text);
    free(d);
}

static void hostile_json(const char *from, const char *to, const char *text)
{
    struct ref_provenance p = provenance();
    struct err e;
    size_t size;
    unsigned char *d = make_file(TOKEN_KIND_PAIRS, false, &p, &size), *at = memmem(d, size, from, strlen(from));
    memcpy(at, to, strlen(to));
    tail_hash_fix(d, size, REF_TAIL - REF_TAIL_HASH);
    bool opened = opens(d, size, &e);
    if (!ok(!opened && strstr(e.text, text), "refused: %s", text))
        printf("# %s\n", opened ? "accepted" : e.text);
    free(d);
}

static void test_hostile(void)
{
    struct ref_provenance p = provenance();
    size_t size;
    unsigned char *d = make_file(TOKEN_KIND_PAIRS, false, &p, &size);
    long records = REF_HEADER_FIXED + (long)((get_le32(d + 16) + 7) & ~7u), tail = -REF_TAIL;
    free(d);
    hostile(0, 0, "not a file of reference log-probabilities");
    hostile(8, 2, "version 2, this program reads version 1");
    hostile(12, 0, "kind 0 with flags 0");
    hostile(12, 3, "kind 3 with flags 0");
    hostile(20, 1, "kind 1 with flags 1");
    hostile(20, 2, "kind 1 with flags 2");
    hostile(16, 0xffffffff, "4294967295 bytes of JSON");
    hostile(16, 175, "padding at byte");
    hostile(records, 0, "record 1: its lengths (0, 2)");
    hostile(records + 4, 0xffffffff, "record 1: its lengths (3, 4294967295)");
    hostile(records, 0x0fffffff, "record 1: its lengths (268435455, 2)");
    hostile(records + 8, 0x7f800000, "record 1: log-probability 1 is inf");
    hostile(records + 24, 0xffc00000, "record 1: log-probability 5 is");
    hostile(records + 28, 1, "record 1: padding is not zero");
    hostile(records + 32, 2, "record 2: its lengths");
    hostile(tail, 0xffffffff, "footer: 4294967295 samples");
    hostile(tail, 1, "expected"); /* the offsets begin later */
    hostile(tail + 8, 6, "footer: its counts do not agree");
    hostile(tail + 12, 0xffffffff, "values do not fit");
    hostile(tail - 8, 0, "record 2: offset in the footer is 0");
    hostile_json("\"model\":\"9", "\"model\":\"g", "\"model\" is not 64 hexadecimal digits");
    hostile_json("\"adapter\":\"\"", "\"adapter\":7 ", "\"adapter\" is not 64");
    hostile_json("\"data\":\"00", "\"data\":\"0.", "\"data\" is not 32");
    hostile_json("\"bf16\"", "\"\\n16\"", "\"arithmetic\" is not a short text");
    hostile_json("\"finetools", "[1,\"etool]", "header: not a JSON object");
    hostile_json("{\"tool", "[\"tool", "header: not a JSON object");
}

static void refused(const float *a, uint32_t n, const float *b, uint32_t m, enum token_kind kind, const char *text)
{
    struct ref_provenance p = provenance();
    struct err e = ERR_INIT;
    char *bytes = NULL;
    size_t size;
    FILE *out = open_memstream(&bytes, &size);
    struct ref_writer *w = ref_writer_begin(out, "x", kind, false, &p, &e);
    int r = w ? ref_writer_add(w, a, n, b, m, &e) : -1;
    is_str(r < 0 ? e.text : "accepted", text, text);
    ref_writer_free(w);
    fclose(out);
    free(bytes);
}

static void test_writer(void)
{
    const float nan_value[] = {-1, NAN}, infinite[] = {-INFINITY};
    refused(chosen, 3, nan_value, 2, TOKEN_KIND_PAIRS, "x: record 1: log-probability 2 is nan");
    refused(infinite, 1, rejected, 2, TOKEN_KIND_PAIRS, "x: record 1: log-probability 1 is -inf");
    refused(chosen, 3, NULL, 0, TOKEN_KIND_PAIRS, "x: record 1: 3 and 0 trained tokens, expected at least one of each answer");
    refused(chosen, 0, rejected, 2, TOKEN_KIND_PAIRS, "x: record 1: 0 and 2 trained tokens, expected at least one of each answer");
    refused(chosen, 3, rejected, 2, TOKEN_KIND_LABELLED, "x: record 1: 3 and 2 trained tokens, expected those of one answer");
    refused(chosen, 3, NULL, 0, TOKEN_KIND_SAMPLES, "x: a reference is of pairs or of labelled samples, and only of these can answers be mismatched");
}

static void test_page(void)
{
    struct ref_provenance p = provenance();
    struct buf b = BUF_INIT;
    size_t size;
    sha256_hex("abc", 3, p.model);
    unsigned char *d = make_file(TOKEN_KIND_PAIRS, false, &p, &size);
    read_page_listing("man/ref-logprobs.5", 1, &b);
    if (!ok(b.len == size && !memcmp(b.data, d, size), "the example of ref-logprobs(5), byte for byte")) {
        for (size_t i = 0; i < size; i++)
            printf("%s%02x%s", i % 16 ? " " : "# ", d[i], i % 16 == 15 || i + 1 == size ? "\n" : "");
    }
    buf_release(&b);
    free(d);
}

static void test_inspect(void)
{
    struct ref_provenance p = provenance();
    struct err e = ERR_INIT;
    size_t size;
    unsigned char *d = make_file(TOKEN_KIND_PAIRS, false, &p, &size);
    char *path = scratch_path("");
    bool written = file_write(path, d, size, &e) == 0;
    json_t *about = inspect_path(path, true, &e);
    if (ok(written && about, "ckpt-info reads it: %s", e.text)) {
        is_str(json_string_value(json_object_get(about, "kind")), "reference log-probabilities", "it names it");
        is_int(json_integer_value(json_object_get(about, "chosen_tokens")), 4, "tokens of the chosen answers");
        is_near(json_real_value(json_object_get(about, "rejected_logp_per_token")), -6.125 / 3, 1e-12, "mean of the rejected answers' tokens");
        is_str(json_string_value(json_object_get(about, "model")), p.model, "the model");
    }
    json_decref(about);
    free(path);
    free(d);
}

static void test_adapter_hash(void)
{
    static const char *const folders[] = {"tests/golden/adapters/rslora", "tests/golden/adapters/plain"};
    char hash[3][SHA256_HEX] = {"", "", ""};
    for (int i = 0; i < 2; i++) {
        struct err e = ERR_INIT;
        struct adapter *a = adapter_open(folders[i], &e);
        if (!ok(a != NULL, "%s is read %s", folders[i], e.text))
            return;
        adapter_hash(a, hash[i]);
        if (i == 0) {
            a->modules[0].scale *= 2;
            adapter_hash(a, hash[2]);
        }
        adapter_close(a);
    }
    ok(strlen(hash[0]) == 64 && strcmp(hash[0], hash[1]) && strcmp(hash[0], hash[2]), "adapters, and scales, have different hashes");
}

int main(void)
{
    test_round_trip();
    test_expect();
    test_damage();
    test_hostile();
    test_writer();
    test_page();
    test_inspect();
    test_adapter_hash();
    return tap_end();
}
