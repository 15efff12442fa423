/* Tokenizers against the `tokenizers` library: ids and decoded texts of 10,000 strings each, by the sums that
 * tests/golden/make_tokenizer.py wrote. The strings are made here by the same rule as there. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "tests/unit/tap.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define STRINGS 10000
#define BLOCK 100
#define FOLDER "tests/golden/tokenizer"

struct draw { uint64_t state; };

static uint64_t below(struct draw *d, uint64_t n) /* splitmix64 */
{
    d->state += 0x9E3779B97F4A7C15u;
    uint64_t z = d->state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (z ^ z >> 31) % n;
}

static void add_char(struct buf *b, uint32_t c)
{
    char text[4];
    buf_add(b, text, (size_t)utf8_put(text, c >= 0xD800 && c < 0xE000 ? 'x' : c));
}

static void add_item(struct buf *b, const json_t *list, struct draw *d)
{
    const json_t *s = json_array_get(list, below(d, json_array_size(list)));
    buf_add(b, json_string_value(s), json_string_length(s));
}

struct source { const json_t *fragments, *spaces, *marks; json_t *extra; };

static void add_block(struct buf *b, uint64_t i, int kind)
{
    uint32_t block = (uint32_t)(i / 8 * 2) + (uint32_t)kind - 2, base = block < 1664 ? block * 128 : 0xE0000 + (block - 1664) * 128;
    for (uint32_t c = base; c < base + 128; c++) {
        if (kind == 3 && c % 5 == 0)
            buf_add_char(b, ' ');
        add_char(b, c);
    }
}

static void add_marked(struct buf *b, const struct source *s, struct draw *d)
{
    uint64_t of = below(d, 4);
    if (of == 2)
        add_char(b, (uint32_t)json_integer_value(json_array_get(s->marks, below(d, json_array_size(s->marks)))));
    else
        add_char(b, of == 0 ? 0x41 + (uint32_t)below(d, 58) : of == 1 ? 0x300 + (uint32_t)below(d, 0x70) : 0x1100 + (uint32_t)below(d, 0x100));
}

static void make_string(struct buf *b, uint64_t i, const struct source *s)
{
    static const uint32_t ranges[4][2] = {{0x20, 0x7F}, {0x80, 0x800}, {0x800, 0x10000}, {0x10000, 0x34000}};
    struct draw d = {i};
    int kind = (int)(i % 8);
    buf_clear(b);
    if (kind == 2 || kind == 3) {
        add_block(b, i, kind);
        return;
    }
    for (uint64_t n = below(&d, 40); n > 0; n--) {
        if (kind == 4) {
            const uint32_t *r = ranges[below(&d, 4)];
            add_char(b, r[0] + (uint32_t)below(&d, r[1] - r[0]));
        } else if (kind == 5) {
            add_item(b, s->spaces, &d);
        } else if (kind == 7) {
            add_marked(b, s, &d);
        } else if (kind == 6 && json_array_size(s->extra) && below(&d, 2)) {
            add_item(b, s->extra, &d);
        } else {
            add_item(b, s->fragments, &d);
        }
    }
}

static void add_number(struct sha256 *h, size_t n)
{
    unsigned char b[4];
    put_le32(b, (uint32_t)n);
    sha256_add(h, b, 4);
}

/* Starts and ends never go back and stay inside the text. */
static bool in_order(const struct token_list *l, size_t len)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->start[i] > l->end[i] || l->end[i] > len || (i && (l->start[i] < l->start[i - 1] || l->end[i] < l->end[i - 1])))
            return false;
    return true;
}

struct work { struct token_list tokens; struct buf text, decoded; struct err e; };

static bool hash_string(const struct tokenizer *t, uint64_t i, const struct source *s, struct work *w, struct sha256 *h)
{
    make_string(&w->text, i, s);
    struct text_range all = {0, w->text.len};
    token_list_clear(&w->tokens);
    buf_clear(&w->decoded);
    if (tokenizer_encode(t, buf_str(&w->text), w->text.len, &all, i >> 5 & 1, i >> 3 & 1, &w->tokens, &w->e) ||
        tokenizer_decode(t, w->tokens.ids, w->tokens.n, i >> 4 & 1, &w->decoded, &w->e) || !in_order(&w->tokens, w->text.len))
        return false;
    add_number(h, w->tokens.n);
    for (size_t k = 0; k < w->tokens.n; k++)
        add_number(h, w->tokens.ids[k]);
    add_number(h, w->decoded.len);
    sha256_add(h, buf_str(&w->decoded), w->decoded.len);
    return true;
}

static json_t *added_contents(const char *path)
{
    struct err e = ERR_INIT;
    struct file_map map;
    json_t *list = json_array();
    if (file_map(&map, path, &e))
        return list;
    json_t *root = json_loadb((const char *)map.data, map.size, JSON_ALLOW_NUL, NULL), *tokens = json_object_get(root, "added_tokens");
    for (size_t i = 0; i < json_array_size(tokens) && i < 24; i++)
        json_array_append(list, json_object_get(json_array_get(tokens, i), "content"));
    json_decref(root);
    file_unmap(&map);
    return list;
}

static void check_sums(const char *name, const struct tokenizer *t, const struct source *s)
{
    struct work w = {.e = ERR_INIT};
    char *path = mem_printf(FOLDER "/%s.sums", name), hex[SHA256_HEX];
    struct buf sums = BUF_INIT;
    int wrong = -1;
    bool good = !file_read(&sums, path, 1 << 20, &w.e) && sums.len == STRINGS / BLOCK * 17;
    struct sha256 h;
    for (uint64_t i = 0; i < STRINGS && good && wrong < 0; i++) {
        if (i % BLOCK == 0)
            sha256_init(&h);
        good = hash_string(t, i, s, &w, &h);
        if (i % BLOCK == BLOCK - 1) {
            sha256_end_hex(&h, hex);
            wrong = memcmp(hex, sums.data + i / BLOCK * 17, 16) ? (int)(i / BLOCK) : -1;
        }
    }
    ok(good && wrong < 0, "%s: ids and texts of %d strings", name, STRINGS);
    if (!good || wrong >= 0)
        printf("# block %d, %s\n", wrong, w.e.text);
    free(path);
    buf_release(&sums);
    buf_release(&w.text);
    buf_release(&w.decoded);
    token_list_release(&w.tokens);
}

static void check(const char *name, char *path, struct source *s)
{
    struct err e = ERR_INIT;
    if (!file_exists(path)) {
        printf("# %s\n", path);
        skip("the tokenizer is not here");
    } else {
        struct tokenizer *t = tokenizer_open(path, &e);
        s->extra = added_contents(path);
        if (t)
            check_sums(name, t, s);
        else
            ok(false, "%s: %s", name, e.text);
        json_decref(s->extra);
        tokenizer_close(t);
    }
    free(path);
}

int main(void)
{
    static const char *const small[] = {"gpt2", "digits", "tekken", "o200k", "bloom", "own_pattern", "letters", "bytes_missing", "llama", "llama_first",
                                        "metaspace", "gemma", "norms", "suffix", "prefix", "nfc", "nfkc", "nfd", "nfkd"};
    static const char *const large[] = {"llama2", "llama3", "qwen3"};
    json_t *strings = json_load_file(FOLDER "/strings.json", JSON_ALLOW_NUL, NULL);
    struct source s = {json_object_get(strings, "fragments"), json_object_get(strings, "spaces"), json_object_get(strings, "marks"), NULL};
    const char *data = getenv("FINETOOLS_DATA"), *smollm2 = getenv("FINETOOLS_SMOLLM2");
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        check(small[i], mem_printf(FOLDER "/%s.json", small[i]), &s);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        check(large[i], mem_printf("%s/tokenizers/%s/tokenizer.json", data ? data : "../shared/data", large[i]), &s);
    check("smollm2", mem_printf("%s/tokenizer.json", smollm2 ? smollm2 : "../shared/data/smollm2"), &s);
    json_decref(strings);
    return tap_end();
}
