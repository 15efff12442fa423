/* format/token_file: pairs and labelled samples are read as they were written; what breaks their rules is refused by the writer and by
 * the reader; the second worked example of token-file(5) is a pair. */
#include <stdlib.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/token_file.h"
#include "format/token_layout.h"
#include "tests/unit/tap.h"
#include "tests/unit/page_listing.h"

static const char input_hash[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; /* of "abc" */

static const uint32_t some_ids[] = {1, 72, 105, 258, 2, 260, 261, 2};

/* 1, 72, 105 answered with 258, 2 or with 260, 261, 2. */
static const struct token_sample pair = {.ids = some_ids, .mask = (const uint8_t[]){0, 0, 0, 1, 1, 1, 0, 1}, .n = 8, .prompt = 3, .chosen = 2};
static const struct token_sample good = {.ids = some_ids, .mask = (const uint8_t[]){0, 0, 0, 1, 1}, .n = 5, .prompt = 3, .chosen = 2, .label = true};
static const struct token_sample poor = {.ids = some_ids, .mask = (const uint8_t[]){0, 1, 1}, .n = 3, .prompt = 1, .chosen = 2, .label = false};

static int write_file(FILE *out, enum token_kind kind, const struct token_sample *samples, int n, struct err *e)
{
    struct token_provenance p = {.vocab = 300, .options = (char[]){"{}"}};
    sha256_hex("", 0, p.tokenizer);
    struct token_writer *w = token_writer_begin(out, "x.tok", kind, &p, e);
    for (int i = 0; w && i < n; i++)
        if (token_writer_put(w, &samples[i], e) < 0) {
            token_writer_free(w);
            return -1;
        }
    return w ? token_writer_end(w, input_hash, e) : -1;
}

static size_t make(unsigned char **data, enum token_kind kind, const struct token_sample *samples, int n, struct err *e)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    int r = write_file(out, kind, samples, n, e);
    fclose(out);
    *data = (unsigned char *)bytes;
    return r < 0 ? 0 : size;
}

static bool same(const struct token_sample *a, const struct token_sample *b)
{
    return a->n == b->n && a->prompt == b->prompt && a->chosen == b->chosen && a->label == b->label && !memcmp(a->ids, b->ids, 4 * a->n) &&
           !memcmp(a->mask, b->mask, a->n);
}

static void test_round_trip(void)
{
    unsigned char *d;
    struct err e = ERR_INIT;
    size_t size = make(&d, TOKEN_KIND_PAIRS, (struct token_sample[]){pair, pair}, 2, &e);
    struct token_file *t = token_file_parse(d, size, "x.tok", &e);
    if (!ok(t != NULL, "a file of pairs opens %s", e.text))
        return;
    struct token_sample s = token_file_sample(t, 1);
    ok(t->kind == TOKEN_KIND_PAIRS && t->n_samples == 2 && same(&s, &pair) && s.trained == 4, "a pair is as it was written");
    is_int(t->n_tokens, 16, "the shared prompt is stored once");
    is_int(t->n_trained, 8, "trained tokens of both answers");
    is_int(t->longest, 6, "the longest is the prompt and the longer answer");
    token_file_close(t);
    free(d);
    size = make(&d, TOKEN_KIND_LABELLED, (struct token_sample[]){good, poor}, 2, &e);
    t = token_file_parse(d, size, "x.tok", &e);
    if (!ok(t != NULL, "a file of labelled samples opens %s", e.text))
        return;
    s = token_file_sample(t, 0);
    ok(same(&s, &good), "a desirable sample");
    s = token_file_sample(t, 1);
    ok(same(&s, &poor) && s.trained == 2, "an undesirable one");
    is_int(t->longest, 5, "the longest");
    token_file_close(t);
    free(d);
}

static void test_expect(void)
{
    static const char *const want[3][3] = {
        {NULL, "x.tok: holds samples, expected pairs (made with fmt-chat -F pairs)", "holds samples, expected labelled samples (made with fmt-chat -F kto)"},
        {"x.tok: holds pairs, expected samples (dpo-train takes these; ", NULL, "holds pairs, expected labelled samples"},
        {"x.tok: holds labelled samples, expected samples", "holds labelled samples, expected pairs", NULL}};
    for (int kind = 0; kind < 3; kind++) {
        const struct token_sample plain = {.ids = some_ids, .mask = good.mask, .n = 5};
        unsigned char *d;
        struct err e = ERR_INIT;
        size_t size = make(&d, (enum token_kind)kind, kind == 0 ? &plain : kind == 1 ? &pair : &good, 1, &e);
        struct token_file *t = token_file_parse(d, size, "x.tok", &e);
        for (int k = 0; t && k < 3; k++) {
            e = (struct err)ERR_INIT;
            bool fits = token_file_expect(t, (enum token_kind)k, &e) == 0;
            ok(fits == (k == kind) && (fits || strstr(e.text, want[kind][k])), "kind %d where %d is wanted: %s", kind, k, e.text);
        }
        ok(t != NULL, "kind %d", kind);
        token_file_close(t);
        free(d);
    }
}

/* The writer refuses a sample, and the reader a file that has it. `at`: a field of the first record, 4 bytes; or a byte of its mask. */
static void refuse(enum token_kind kind, struct token_sample s, size_t at, int bytes, uint32_t value, const char *want)
{
    unsigned char *d;
    struct err e = ERR_INIT;
    if (s.n) {
        ok(!make(&d, kind, &s, 1, &e) && strstr(e.text, want), "not written: %s", e.text);
        free(d);
    }
    e = (struct err)ERR_INIT;
    size_t size = make(&d, kind, kind == TOKEN_KIND_PAIRS ? &pair : &good, 1, &e), record = TOKEN_HEADER_FIXED + token_pad8(get_le32(d + 16));
    if (bytes == 4)
        put_le32(d + record + at, value);
    else
        d[record + at] = (unsigned char)value;
    XXH128_canonical_t h;
    XXH128_canonicalFromHash(&h, XXH3_128bits(d, size - TOKEN_TAIL + TOKEN_TAIL_HASH));
    memcpy(d + size - TOKEN_TAIL + TOKEN_TAIL_HASH, h.digest, 16);
    struct token_file *t = token_file_parse(d, size, "x.tok", &e);
    ok(!t && strstr(e.text, "x.tok: record 1: ") && strstr(e.text, want), "not read: %s", e.text);
    token_file_close(t);
    free(d);
}

static struct token_sample with(struct token_sample s, uint32_t prompt, uint32_t chosen)
{
    s.prompt = prompt;
    s.chosen = chosen;
    return s;
}

static struct token_sample masked(struct token_sample s, const uint8_t *mask)
{
    s.mask = mask;
    return s;
}

static void test_rules(void)
{
    const struct token_sample none = {0};
    refuse(TOKEN_KIND_PAIRS, with(pair, 0, 2), 8, 4, 0, "the prompt has no token");
    refuse(TOKEN_KIND_PAIRS, with(pair, 8, 2), 8, 4, 8, "the prompt leaves no token to answer");
    refuse(TOKEN_KIND_PAIRS, with(pair, UINT32_MAX, 2), 8, 4, UINT32_MAX, "the prompt leaves no token to answer");
    refuse(TOKEN_KIND_PAIRS, with(pair, 3, 0), 12, 4, 0, "the chosen answer has no token");
    refuse(TOKEN_KIND_PAIRS, with(pair, 3, 5), 12, 4, 5, "the rejected answer has no token");
    refuse(TOKEN_KIND_PAIRS, with(pair, 3, UINT32_MAX), 12, 4, UINT32_MAX, "the rejected answer has no token");
    refuse(TOKEN_KIND_PAIRS, with(pair, 4, 1), 8, 4, 4, "a token of the prompt bears loss");
    refuse(TOKEN_KIND_PAIRS, masked(pair, (const uint8_t[]){0, 1, 0, 1, 1, 1, 0, 1}), 8, 4, 5, "prompt bears loss");
    refuse(TOKEN_KIND_PAIRS, masked(pair, (const uint8_t[]){0, 0, 0, 1, 1, 0, 0, 0}), 12, 4, 5, "rejected answer");
    refuse(TOKEN_KIND_PAIRS, none, 4, 4, 5, "the count of trained tokens is wrong");
    refuse(TOKEN_KIND_PAIRS, none, 16 + 32 + 5, 1, 2, "a mask byte is not 0 or 1");
    refuse(TOKEN_KIND_PAIRS, none, 16, 4, 300, "token 300 is outside the vocabulary of 300");
    refuse(TOKEN_KIND_LABELLED, with(good, 0, 5), 8, 4, 0, "the prompt has no token");
    refuse(TOKEN_KIND_LABELLED, with(good, 5, 0), 8, 4, 5, "the prompt leaves no token to answer");
    refuse(TOKEN_KIND_LABELLED, with(good, 4, 1), 8, 4, 4, "a token of the prompt bears loss");
    refuse(TOKEN_KIND_LABELLED, none, 12, 4, 2, "the label is not 0 or 1");
}

/* Which fault is told when the masks of a whole answer are empty. */
static void test_untrained(void)
{
    struct err e = ERR_INIT;
    unsigned char *d;
    struct token_sample s = masked(pair, (const uint8_t[]){0, 0, 0, 0, 0, 1, 0, 1});
    ok(!make(&d, TOKEN_KIND_PAIRS, &s, 1, &e) && strstr(e.text, "nothing to train in the chosen answer"), "%s", e.text);
    free(d);
    e = (struct err)ERR_INIT;
    s = masked(pair, (const uint8_t[]){0, 0, 0, 1, 1, 0, 0, 0});
    ok(!make(&d, TOKEN_KIND_PAIRS, &s, 1, &e) && strstr(e.text, "nothing to train in the rejected answer"), "%s", e.text);
    free(d);
    e = (struct err)ERR_INIT;
    s = masked(good, (const uint8_t[]){0, 0, 0, 0, 0});
    ok(!make(&d, TOKEN_KIND_LABELLED, &s, 1, &e) && strstr(e.text, "nothing to train"), "%s", e.text);
    free(d);
}

static void test_page(void)
{
    struct buf b = BUF_INIT;
    struct err e = ERR_INIT;
    read_page_listing("man/token-file.5", 2, &b);
    struct token_file *t = token_file_parse(buf_str(&b), b.len, "token-file.5", &e);
    if (ok(t != NULL, "the page's example of a pair opens %s", e.text)) {
        struct token_sample s = token_file_sample(t, 0);
        ok(t->kind == TOKEN_KIND_PAIRS && t->n_samples == 1 && same(&s, &pair), "it is the pair that the page tells");
    }
    token_file_close(t);
    buf_release(&b);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    if (argc > 1) /* print the page's example: token_answers pair | hexdump -C; or "labelled" */
        return write_file(stdout, strcmp(argv[1], "pair") ? TOKEN_KIND_LABELLED : TOKEN_KIND_PAIRS, strcmp(argv[1], "pair") ? &good : &pair, 1, &e) < 0;
    test_round_trip();
    test_expect();
    test_rules();
    test_untrained();
    test_page();
    return tap_end();
}
