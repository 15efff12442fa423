#include "text/tokenizer_cut.h"

#include <stdlib.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

static void set_bit(uint64_t *set, uint32_t i)
{
    set[i >> 6] |= (uint64_t)1 << (i & 63);
}

/* --- pairs of a token --- */

static bool continues(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* The code point of s[start..end) when that is one whole character, else TOKENIZER_NONE. */
static uint32_t whole_char(const char *s, size_t start, size_t end)
{
    size_t i = start;
    if (utf8_valid(s + start, end - start) < end - start)
        return TOKENIZER_NONE;
    uint32_t c = utf8_next(s, end, &i);
    return i == end ? c : TOKENIZER_NONE;
}

/* All characters of up to three bytes that begin with `lead`. */
static void set_lead(uint64_t *set, unsigned char lead)
{
    uint32_t first = lead < 0xE0 ? (lead & 0x1Fu) << 6 : (lead & 0x0Fu) << 12, n = lead < 0x80 ? 1 : lead < 0xE0 ? 64 : 4096;
    if (lead < 0x80)
        first = lead;
    for (uint32_t i = 0; lead < 0xF0 && i < n; i++)
        set_bit(set, first + i);
}

/* The neighbours at each place of the token where a character of the text may end and another begin. */
static void add_token(struct cuts *c, const char *s, size_t len)
{
    size_t start = 0;
    for (size_t i = 1, end; i < len; i++) {
        if (continues(s[i]))
            continue;
        for (end = i + 1; end < len && continues(s[end]);)
            end++;
        if (start + 1 == i && i + 1 == end && !((s[start] | s[i]) & 0x80)) { /* what follows would come to the same */
            set_bit(c->joined, cuts_hash((unsigned char)s[start], (unsigned char)s[i]));
            start = i;
            continue;
        }
        uint32_t a = whole_char(s, start, i), b = whole_char(s, i, end);
        if (a == TOKENIZER_NONE && b == TOKENIZER_NONE)
            set_lead(c->before, (unsigned char)s[i]);
        else if (a == TOKENIZER_NONE && b < CUTS_CHARACTERS)
            set_bit(c->before, b);
        else if (b == TOKENIZER_NONE && a < CUTS_CHARACTERS)
            set_bit(c->after, a);
        else if ((a | b) < CUTS_CHARACTERS)
            set_bit(c->joined, cuts_hash(a, b));
        start = i;
    }
}

static void add_vocabulary(struct cuts *c, const struct bpe *b)
{
    struct buf bytes = BUF_INIT;
    for (uint32_t id = 0; id < b->vocab.size; id++) {
        struct token_ref ref = b->vocab.tokens[id];
        if (ref.at == TOKENIZER_NONE)
            continue;
        buf_clear(&bytes);
        if (!b->byte_words)
            add_token(c, b->vocab.pool.data + ref.at, ref.len);
        else if (letters_to_bytes(b->vocab.pool.data + ref.at, ref.len, &bytes))
            add_token(c, buf_str(&bytes), bytes.len);
    }
    buf_release(&bytes);
}

/* --- characters that do not stay what they are --- */

static void keep_whole(struct cuts *c, uint32_t character)
{
    set_bit(c->after, character);
    set_bit(c->before, character);
}

/* A byte that is no token vanishes from the word. */
static void keep_lost_bytes(struct cuts *c, const struct bpe *b)
{
    for (unsigned byte = 0; byte < 0xF0; byte++) {
        if (b->byte_symbol[byte] != TOKENIZER_NONE || byte == 0xC0 || byte == 0xC1)
            continue;
        for (uint32_t other = byte < 0x80 ? byte : 0x80; other < (byte < 0x80 ? byte + 1 : CUTS_CHARACTERS); other++)
            keep_whole(c, other);
    }
}

/* Whether every character beside the vocabulary becomes tokens of bytes, which no rule joins with anything. */
static bool falls_back_alone(const struct bpe *b)
{
    uint64_t *bytes = mem_zalloc((size_t)b->vocab.size / 64 + 1, sizeof *bytes), mask = ((uint64_t)1 << b->merges.id_bits) - 1;
    bool alone = b->byte_fallback;
    for (unsigned byte = 0; byte < 256 && alone; byte++) {
        alone = b->byte_symbol[byte] != TOKENIZER_NONE;
        if (alone)
            set_bit(bytes, b->byte_symbol[byte]);
    }
    for (size_t i = 0; i <= b->merges.mask && alone; i++) {
        uint64_t key = b->merges.slots[i] >> b->merges.rank_bits;
        if (b->merges.slots[i] != UINT64_MAX)
            alone = !cuts_bit(bytes, (uint32_t)(key >> b->merges.id_bits)) && !cuts_bit(bytes, (uint32_t)(key & mask));
    }
    free(bytes);
    return alone;
}

static void keep_unknown_characters(struct cuts *c, const struct bpe *b)
{
    if (falls_back_alone(b))
        return;
    for (uint32_t character = 0; character < CUTS_CHARACTERS; character++)
        if (b->char_symbol[character] == TOKENIZER_NONE)
            keep_whole(c, character);
}

void cuts_prepare(struct cuts *c, const struct bpe *b)
{
    if (b->prefix_len || b->suffix_len)
        return;
    size_t pairs = ((size_t)1 << CUTS_BITS) / 64, characters = CUTS_CHARACTERS / 64;
    c->joined = mem_zalloc(pairs + 2 * characters, sizeof *c->joined);
    c->after = c->joined + pairs;
    c->before = c->after + characters;
    add_vocabulary(c, b);
    if (b->byte_words)
        keep_lost_bytes(c, b);
    else
        keep_unknown_characters(c, b);
}

void cuts_release(struct cuts *c)
{
    free(c->joined);
}

/* --- walking --- */

static inline bool is_letter(unsigned char c)
{
    return (unsigned char)((c | 0x20) - 'a') < 26;
}

/* Between two Latin letters nothing is looked up: it would seldom be a place to cut, and words are what is worth remembering. */
size_t cuts_next(const struct cuts *c, const char *s, size_t i, size_t len, uint32_t space)
{
    uint32_t last = utf8_next(s, len, &i);
    last = last == ' ' ? space : last;
    while (i < len) {
        size_t at = i;
        if (last < 0x80 && is_letter((unsigned char)last)) {
            while (i < len && is_letter((unsigned char)s[i]))
                i++;
            if (i > at) {
                last = (unsigned char)s[i - 1];
                continue;
            }
        }
        uint32_t next = utf8_next(s, len, &i);
        next = next == ' ' ? space : next;
        if (cuts_between(c, last, next))
            return at;
        last = next;
    }
    return len;
}
