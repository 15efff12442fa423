/* format/token_file: what is written is read again; damage, truncation and hostile sizes are noticed; the worked
 * example of token-file(5) is a token file. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "format/token_file.h"
#include "format/token_layout.h"
#include "tests/tools/tail_hash.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tap.h"
#include "tests/unit/page_listing.h"

static const char input_hash[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; /* of "abc" */

/* A file in memory: samples of `lengths`, ids counting up, every third token trained. The caller frees *data. */
static size_t make_file(unsigned char **data, const uint32_t *lengths, int n, uint32_t vocab, char *options)
{
    struct token_provenance p = {.vocab = vocab, .options = options};
    sha256_hex("tokenizer", 9, p.tokenizer);
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    struct err e = ERR_INIT;
    struct token_writer *w = token_writer_begin(out, "memory", TOKEN_KIND_SAMPLES, &p, &e);
    for (int i = 0; w && i < n; i++) {
        uint32_t *ids = mem_zalloc(lengths[i], 4);
        uint8_t *mask = mem_zalloc(lengths[i], 1);
        for (uint32_t k = 0; k < lengths[i]; k++)
            ids[k] = (k + (uint32_t)i) % vocab, mask[k] = k % 3 == 1;
        if (token_writer_add(w, ids, mask, lengths[i], &e) < 0)
            printf("# %s\n", e.text);
        free(ids);
        free(mask);
    }
    if (!w || token_writer_end(w, input_hash, &e) < 0)
        printf("# %s\n", e.text);
    fclose(out);
    *data = (unsigned char *)bytes;
    return size;
}

static bool opens(const unsigned char *d, size_t size, struct err *e)
{
    *e = (struct err)ERR_INIT;
    struct token_file *t = token_file_parse(d, size, "x.tok", e);
    token_file_close(t);
    return t != NULL;
}

static void test_round_trip(void)
{
    static const uint32_t lengths[] = {2, 5, 700, 3};
    unsigned char *d;
    size_t size = make_file(&d, lengths, 4, 50, (char[]){"{\"overlong\":\"error\"}"});
    struct err e = ERR_INIT;
    struct token_file *t = token_file_parse(d, size, "x.tok", &e);
    if (!ok(t != NULL, "a written file opens %s", e.text))
        return;
    is_int(t->n_samples, 4, "samples");
    is_int(t->n_tokens, 710, "tokens");
    is_int(t->longest, 700, "longest");
    is_int(t->n_trained, 1 + 2 + 233 + 1, "trained");
    is_int(t->provenance.vocab, 50, "vocabulary");
    is_str(t->provenance.options, "{\"overlong\":\"error\"}", "options");
    is_str(t->provenance.input, input_hash, "hash of the input");
    is_str(t->provenance.template_hash, "", "no template");
    is_int((long long)strlen(t->hash), 32, "hash of the file");
    int wrong = 0;
    for (int64_t i = 0; i < 4; i++) {
        struct token_sample s = token_file_sample(t, i);
        wrong += s.n != lengths[i];
        for (uint32_t k = 0; k < s.n; k++)
            wrong += s.ids[k] != (k + (uint32_t)i) % 50 || s.mask[k] != (k % 3 == 1);
    }
    is_int(wrong, 0, "ids and masks");
    token_file_close(t);
    unsigned char *again;
    ok(make_file(&again, lengths, 4, 50, (char[]){"{\"overlong\":\"error\"}"}) == size && !memcmp(d, again, size), "the same bytes twice");
    free(again);
    free(d);
}

static void test_files(void)
{
    char *path = scratch_path("");
    unsigned char *d;
    size_t size = make_file(&d, (uint32_t[]){3}, 1, 9, NULL);
    struct err e = ERR_INIT;
    is_int(file_write(path, d, size, &e), 0, "a file is written");
    struct token_file *t = token_file_open(path, &e);
    ok(t && t->map.mapped && t->n_samples == 1, "opens mapped %s", e.text);
    token_file_close(t);
    free(d);
    size = make_file(&d, NULL, 0, 9, NULL);
    ok(opens(d, size, &e), "a file without samples is whole %s", e.text);
    free(d);
    ok(!token_file_open("/nonexistent/x.tok", &e) && strstr(e.text, "/nonexistent/x.tok"), "a missing file is named");
    free(path);
}

static void test_damage(void)
{
    static const uint32_t lengths[] = {4, 9, 30};
    unsigned char *d;
    size_t size = make_file(&d, lengths, 3, 50, NULL);
    struct err e;
    int passed = 0, silent = 0;
    for (size_t n = 0; n < size; n++) {
        unsigned char *cut = mem_alloc(n ? n : 1); /* its own block, so that a read past the end is seen */
        memcpy(cut, d, n);
        passed += opens(cut, n, &e);
        silent += !e.set;
        free(cut);
    }
    is_int(passed, 0, "every truncation is noticed");
    is_int(silent, 0, "and has a message");
    struct rng r = {7, rng_stream("damage", 0)};
    passed = 0;
    for (uint64_t i = 0; i < 300; i++) {
        uint32_t w[4];
        rng_block(&r, i, w);
        uint64_t bit = ((uint64_t)w[0] << 32 | w[1]) % (size * 8);
        d[bit / 8] ^= (unsigned char)(1 << bit % 8);
        passed += opens(d, size, &e);
        d[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    is_int(passed, 0, "300 of 300 random bit flips are noticed");
    unsigned char *longer = mem_zalloc(2 * size, 1); /* zeros behind it, then a second file */
    char want[200];
    memcpy(longer, d, size);
    for (size_t more = 1; more <= 16; more += 5) {
        snprintf(want, sizeof want, "the token file ends at byte %zu, but %zu bytes come after its end", size, more);
        ok(!opens(longer, size + more, &e) && strstr(e.text, want), "bytes after the end: %s", e.text);
    }
    memcpy(longer + size, d, size);
    snprintf(want, sizeof want, "the token file ends at byte %zu, but %zu bytes come after its end", size, size);
    ok(!opens(longer, 2 * size, &e) && strstr(e.text, want), "one file behind another: %s", e.text);
    longer[100] ^= 1;
    ok(!opens(longer, 2 * size, &e) && strstr(e.text, "damaged"), "a damaged file and another: %s", e.text);
    free(longer);
    ok(!opens(d, size - 8, &e) && strstr(e.text, "truncated"), "a file cut short: %s", e.text);
    free(d);
}

/* One field of a valid file replaced, the hash made right again: the checks behind the hash. */
static void refuse(size_t at_from_start, size_t at_from_end, int bytes, uint64_t value, const char *want)
{
    static const uint32_t lengths[] = {4, 9, 30};
    unsigned char *d;
    size_t size = make_file(&d, lengths, 3, 50, NULL);
    unsigned char *p = at_from_end ? d + size - at_from_end : d + at_from_start;
    if (bytes == 8)
        put_le64(p, value);
    else if (bytes == 4)
        put_le32(p, (uint32_t)value);
    else
        *p = (unsigned char)value;
    tail_hash_fix(d, size, TOKEN_TAIL - TOKEN_TAIL_HASH);
    struct err e;
    bool good = opens(d, size, &e);
    if (!ok(!good && strstr(e.text, want), "refused: %s", want))
        printf("# got '%s'\n", e.text);
    free(d);
}

static void test_hostile(void)
{
    unsigned char *d;
    size_t size = make_file(&d, (uint32_t[]){4, 9, 30}, 3, 50, NULL);
    size_t first = TOKEN_HEADER_FIXED + token_pad8(get_le32(d + 16)); /* the first record: 4 tokens, 32 bytes */
    size_t offsets = TOKEN_TAIL + 24;
    clock_t begin = clock();
    refuse(0, 0, 1, 'x', "not a token file");
    refuse(8, 0, 4, 2, "token file version 2, this program reads version 1");
    refuse(12, 0, 4, 3, "records of kind 3, this program reads kinds 0 to 2");
    refuse(16, 0, 4, UINT32_MAX, "bytes of provenance");
    refuse(16, 0, 4, 1 << 20, "bytes of provenance");
    refuse(16, 0, 4, get_le32(d + 16) - 1, "header");
    refuse(TOKEN_HEADER_FIXED, 0, 1, '[', "provenance is not a JSON object");
    refuse(0, TOKEN_TAIL - 32, 8, (uint64_t)1 << 63, "samples do not fit");
    refuse(0, TOKEN_TAIL - 32, 8, UINT64_MAX / 8 + 2, "samples do not fit");
    refuse(0, TOKEN_TAIL - 32, 8, 2, "record 1: offset");
    refuse(0, TOKEN_TAIL - 40, 8, 44, "counts do not agree");
    refuse(0, TOKEN_TAIL - 48, 8, 1, "counts do not agree");
    refuse(0, TOKEN_TAIL - 56, 4, 31, "counts do not agree");
    refuse(0, TOKEN_TAIL - 60, 4, 1, "reserved bytes");
    refuse(0, offsets, 8, 1, "record 1: offset in the footer is 1");
    refuse(first, 0, 4, 0, "record 1: does not fit");
    refuse(first, 0, 4, UINT32_MAX, "record 1: does not fit");
    refuse(first, 0, 4, 10, "record 1: ");
    refuse(first + 4, 0, 4, 2, "record 1: the count of trained tokens is wrong");
    refuse(first + 8, 0, 4, 50, "record 1: token 50 is outside the vocabulary of 50");
    refuse(first + 24, 0, 1, 1, "record 1: the first token bears loss");
    refuse(first + 25, 0, 1, 0, "record 1: nothing to train");
    refuse(first + 26, 0, 1, 2, "record 1: a mask byte");
    refuse(first + 28, 0, 1, 1, "record 1: a mask byte is not 0 or 1, or padding is not zero");
    ok((clock() - begin) / CLOCKS_PER_SEC < 1, "refused within a second");
    is_int((long long)first + 32, (long long)get_le64(d + size - offsets + 8), "the records lie where the page says");
    free(d);
}

static void refuse_sample(const uint32_t *ids, const uint8_t *mask, uint32_t n, const char *want)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    struct token_provenance p = {.vocab = 50};
    struct err e = ERR_INIT;
    struct token_writer *w = token_writer_begin(out, "o.tok", TOKEN_KIND_SAMPLES, &p, &e);
    ok(w && token_writer_add(w, ids, mask, n, &e) < 0 && strstr(e.text, want), "not written: %s", e.text);
    token_writer_free(w);
    fclose(out);
    free(bytes);
}

static void test_writer(void)
{
    refuse_sample((uint32_t[]){1, 50}, (uint8_t[]){0, 1}, 2, "o.tok: record 1: token 50 is outside the vocabulary of 50");
    refuse_sample((uint32_t[]){1, 2}, (uint8_t[]){0, 0}, 2, "nothing to train");
    refuse_sample((uint32_t[]){1, 2}, (uint8_t[]){1, 1}, 2, "the first token bears loss");
    refuse_sample((uint32_t[]){1}, (uint8_t[]){0}, 0, "0 tokens");
    struct err e = ERR_INIT;
    struct token_provenance p = {.vocab = 50, .options = (char[]){"[]"}};
    ok(!token_writer_begin(stdout, "o.tok", TOKEN_KIND_SAMPLES, &p, &e), "options must be an object: %s", e.text);
    e = (struct err)ERR_INIT;
    p = (struct token_provenance){.vocab = 50};
    FILE *full = fopen("/dev/full", "w");
    struct token_writer *w = full ? token_writer_begin(full, "/dev/full", TOKEN_KIND_SAMPLES, &p, &e) : NULL;
    ok(w && token_writer_end(w, input_hash, &e) < 0 && strstr(e.text, "No space"), "a full disk: %s", e.text);
    if (full)
        fclose(full);
}

static void test_page(void)
{
    struct buf b = BUF_INIT;
    read_page_listing("man/token-file.5", 1, &b);
    struct err e = ERR_INIT;
    struct token_file *t = token_file_parse(buf_str(&b), b.len, "token-file.5", &e);
    if (!ok(t != NULL, "the worked example of the page opens %s", e.text))
        return;
    struct token_sample s = token_file_sample(t, 1);
    ok(t->n_samples == 2 && s.n == 3 && s.ids[0] == 1 && s.ids[1] == 258 && s.ids[2] == 2 && !s.mask[0] && s.mask[1] && s.mask[2],
       "its second sample is 1, 258, 2 with the last two trained");
    is_str(t->provenance.input, input_hash, "its input is abc");
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    struct token_writer *w = token_writer_begin(out, "memory", TOKEN_KIND_SAMPLES, &t->provenance, &e);
    int r = 0;
    for (int64_t i = 0; i < t->n_samples; i++) {
        s = token_file_sample(t, i);
        r |= token_writer_add(w, s.ids, s.mask, s.n, &e);
    }
    r |= token_writer_end(w, t->provenance.input, &e);
    fclose(out);
    /* Header and tail hold the version of the tool; the records do not. */
    size_t records = token_record_size(TOKEN_KIND_SAMPLES, 4) + token_record_size(TOKEN_KIND_SAMPLES, 3), end = TOKEN_TAIL + 16;
    ok(r == 0 && size > records + end && !memcmp(bytes + size - end - records, b.data + b.len - end - records, records),
       "written again, the records are the page's");
    free(bytes);
    token_file_close(t);
    buf_release(&b);
}

int main(int argc, char **argv)
{
    if (argc > 1) { /* print the example of the page's listing: token_file --example | hexdump -C */
        struct token_provenance p = {.vocab = 300, .options = (char[]){"{}"}};
        struct err e = ERR_INIT;
        sha256_hex("", 0, p.tokenizer);
        struct token_writer *w = token_writer_begin(stdout, argv[1], TOKEN_KIND_SAMPLES, &p, &e);
        return !w || token_writer_add(w, (uint32_t[]){1, 72, 105, 2}, (uint8_t[]){0, 0, 1, 1}, 4, &e) < 0 ||
               token_writer_add(w, (uint32_t[]){1, 258, 2}, (uint8_t[]){0, 1, 1}, 3, &e) < 0 || token_writer_end(w, input_hash, &e) < 0;
    }
    test_round_trip();
    test_files();
    test_damage();
    test_hostile();
    test_writer();
    test_page();
    return tap_end();
}
