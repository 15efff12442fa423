/* The tokenizer's short cuts against the long way: hand-written matchers against the patterns that they stand for, and words cut into
 * remembered parts, blanks read as marks and steps taken at once against whole words merged afresh. TOKENIZER_STRINGS=N tries more strings. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "tests/unit/tap.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

#define ENDING "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASES "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define SIGNS "| ?[^\\s\\p{L}\\p{N}]+"

static const char *const patterns[] = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+" SIGNS "|\\s+(?!\\S)|\\s+",
    CASES "|" LEAD "\\p{L}+|\\p{N}{1,3}" SIGNS "[\\r\\n]*" ENDING,
    CASES "|" LEAD "\\p{L}+|\\p{N}" SIGNS "[\\r\\n]*" ENDING,
    LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}" SIGNS "[\\r\\n/]*" ENDING,
    LEAD UPPER "*" LOWER "+" CASES "?|" LEAD UPPER "+" LOWER "*" CASES "?|\\p{N}{1,3}" SIGNS "[\\r\\n/]*" ENDING,
};

static uint64_t state = 1;

static uint32_t below(uint32_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % n);
}

static int strings(void)
{
    const char *n = getenv("TOKENIZER_STRINGS");
    return n ? atoi(n) : 300;
}

/* --- texts --- */

static const char *const fragments[] = {
    "the", " of", "don't", "I'LL", "'s", "'", "''", "it\xC5\xBF", "'\xC5\xBF", " ", "  ", "                    ", "\n", "\r\n", " \n ", "\t", "\xC2\xA0", "\xE3\x80\x80", "\xC2\x85",
    "0", "42", "1234567", "\xC2\xBD", "\xD9\xA1\xD9\xA2", "\xE4\xB8\xAD\xE6\x96\x87", "\xE7\x9A\x84", "\xE3\x80\x82", "\xEF\xBC\x8C", "\xED\x95\x9C\xEA\xB5\xAD",
    "\xE2\x96\x81", "\xE2\x96\x81\xE2\x96\x81", "<0x0A>", "<s>", "</s>", "<|", "<|im_end|>", "()", ");\n", "//", "/", "------------------------", "CamelCase", "e\xCC\x81",
    "\xF0\x9F\x98\x80", "\xF0\xA0\x80\x80", "internationalization", "0123456789abcdef0123456789abcdef", "\x04", "\x13", "\x7F", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

static void add_char(struct buf *b, uint32_t c)
{
    char text[4];
    buf_add(b, text, (size_t)utf8_put(text, c >= 0xD800 && c < 0xE000 ? 'x' : c));
}

/* What a random token stands for, when that is text. */
static void add_token(struct buf *b, const struct tokenizer *t)
{
    struct buf text = BUF_INIT;
    struct err e = ERR_INIT;
    size_t len;
    uint32_t id = below(tokenizer_size(t));
    const char *token = tokenizer_token(t, id, &len);
    if (token && below(4) && letters_to_bytes(token, len, &text) && utf8_valid(buf_str(&text), text.len) == text.len)
        buf_add(b, buf_str(&text), text.len);
    else if (token && tokenizer_decode(t, &id, 1, false, b, &e) < 0)
        buf_add(b, token, len);
    buf_release(&text);
}

static void make_text(struct buf *b, const struct tokenizer *t)
{
    uint32_t n = below(below(8) ? 24 : 400), kind = below(4);
    buf_clear(b);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t pick = below(8), block = below(4) ? below(0x3000) : below(0x10FFFF);
        if (t && (kind == 0 || pick < 2))
            add_token(b, t);
        else if (kind == 1 || pick < 4)
            for (uint32_t k = below(6) + 1; k > 0; k--)
                add_char(b, kind == 1 && pick < 6 ? 0x4E00 + below(0x1000) : block + below(4));
        else
            buf_add_str(b, fragments[below(sizeof fragments / sizeof *fragments)]);
    }
}

/* --- patterns --- */

static bool same_matches(const struct regex *r, pattern_match *known, const char *s, size_t len)
{
    struct regex_walk walk = {NULL};
    struct err e = ERR_INIT;
    size_t at = 0, start, end;
    bool same = true;
    while (at < len && same) {
        same = regex_find(r, &walk, s, len, at, at > 0, &start, &end, &e) == 1 && start == at && known(unicode_classes(), s, len, at) == end;
        at = same ? end : at;
    }
    if (!same)
        printf("# differs at byte %zu of %zu: %.40s\n", at, len, s + at);
    regex_end(&walk);
    return same;
}

static void check_pattern(const char *pattern)
{
    struct err e = ERR_INIT;
    struct buf text = BUF_INIT;
    struct regex *r = regex_new(pattern, strlen(pattern), "test", &e);
    pattern_match *known = pattern_known(pattern, strlen(pattern));
    bool same = r && known;
    for (uint32_t c = 0; c < 0x110000 && same; c += 64) { /* every character, alone, in a row, and between letters, blanks and digits */
        buf_clear(&text);
        for (uint32_t k = c; k < c + 64; k++) {
            static const char *const around[] = {"", "a", " ", "1", "'", "\n", " a", "B"};
            buf_add_str(&text, around[below(8)]);
            add_char(&text, k);
            buf_add_str(&text, around[below(8)]);
        }
        for (uint32_t k = c; k < c + 64; k++)
            add_char(&text, k);
        same = same_matches(r, known, text.data, text.len);
    }
    for (int i = 0; i < strings() && same; i++) {
        make_text(&text, NULL);
        same = same_matches(r, known, buf_str(&text), text.len);
    }
    ok(same, "the matcher of %.30s... finds what the pattern does", pattern);
    regex_free(r);
    buf_release(&text);
}

/* --- tokenizers --- */

static bool same_tokens(const struct token_list *a, const struct token_list *b)
{
    if (a->n != b->n)
        return false;
    size_t bytes = a->n * sizeof *a->ids;
    return !a->n || (!memcmp(a->ids, b->ids, bytes) && !memcmp(a->start, b->start, bytes) && !memcmp(a->end, b->end, bytes));
}

static bool same_encoding(const struct tokenizer *fast, const struct tokenizer *plain, const struct buf *text, struct token_list *kept)
{
    struct token_list fresh = {0};
    struct err e = ERR_INIT;
    struct text_range ranges[] = {{0, text->len / 3}, {text->len / 2, text->len}};
    size_t n_ranges = below(3);
    bool same = true;
    for (int i = 0; i < 2 && same; i++) { /* the second time from the cache */
        int a, b;
        token_list_clear(kept);
        token_list_release(&fresh);
        a = tokenizer_encode(fast, buf_str(text), text->len, ranges, n_ranges, false, kept, &e);
        b = tokenizer_encode(plain, buf_str(text), text->len, ranges, n_ranges, false, &fresh, &e);
        same = a == b && (a < 0 || same_tokens(kept, &fresh));
    }
    if (!same)
        printf("# differs: %s\n", buf_str(text));
    token_list_release(&fresh);
    return same;
}

static void check_tokenizer(const char *name, char *path)
{
    struct err e = ERR_INIT;
    if (!file_exists(path)) {
        skip("the tokenizer is not here");
        free(path);
        return;
    }
    struct tokenizer *fast = tokenizer_open(path, &e), *plain = tokenizer_open(path, &e);
    struct token_list kept = {0};
    struct buf text = BUF_INIT;
    bool same = fast && plain;
    if (same) {
        cuts_release(&plain->bpe.cuts);
        plain->bpe.cuts = (struct cuts){0};
        plain->pre.direct = NULL;
        plain->marked = false;
    }
    for (int i = 0; i < strings() && same; i++) {
        make_text(&text, fast);
        same = same_encoding(fast, plain, &text, &kept);
    }
    ok(same, "%s: the short way ends where the long one does", name);
    token_list_release(&kept);
    buf_release(&text);
    tokenizer_close(fast);
    tokenizer_close(plain);
    free(path);
}

int main(void)
{
    static const char *const small[] = {"gpt2", "digits", "tekken", "o200k", "bloom", "own_pattern", "letters", "bytes_missing", "llama", "llama_first",
                                        "metaspace", "gemma", "norms", "suffix", "prefix", "nfc"};
    static const char *const large[] = {"llama2", "llama3", "qwen3"};
    const char *data = getenv("FINETOOLS_DATA"), *smollm2 = getenv("FINETOOLS_SMOLLM2");
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        check_pattern(patterns[i]);
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        check_tokenizer(small[i], mem_printf("tests/golden/tokenizer/%s.json", small[i]));
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        check_tokenizer(large[i], mem_printf("%s/tokenizers/%s/tokenizer.json", data ? data : "../shared/data", large[i]));
    check_tokenizer("smollm2", mem_printf("%s/tokenizer.json", smollm2 ? smollm2 : "../shared/data/smollm2"));
    return tap_end();
}
