/* Private to tokenizer_bpe*.c: the scratch memory of an encoder and its cache of words.
 *
 * The cache maps the bytes of a word, or of a part of one, to its tokens: one table for up to 15 bytes, one for up to 31. It belongs to
 * one thread and one tokenizer, and an entry is simply replaced by the next word that falls on its place, so what comes
 * out never depends on what was seen before. */
#ifndef TEXT_TOKENIZER_BPE_H
#define TEXT_TOKENIZER_BPE_H

#include <string.h>

#include "text/tokenizer_impl.h"

enum {
    WORD_SHORT = 15, WORD_SHORT_TOKENS = 4, WORD_SHORT_BITS = 16,
    WORD_LONG = 31, WORD_LONG_TOKENS = 8, WORD_LONG_BITS = 13
};

/* The bytes, then zeros; in the last byte of the first 16 or of all 32 the length, and whether it is a part where whole words may have
 * tokens that their merges do not make. Never all zeros, so that a free entry matches nothing. */
struct word_key { uint64_t bytes[4]; };

/* Tokens: length << 24 | id, then zeros. */
struct word_entry { uint64_t key[2]; uint32_t tokens[WORD_SHORT_TOKENS]; };
struct word_long_entry { uint64_t key[4]; uint32_t tokens[WORD_LONG_TOKENS]; };

/* Parts are looked up in the cache some time after their places were asked for, so that these have come from memory by then. */
#define QUEUE 32

enum part { WORD, PART, MARKED }; /* all of a word, one of several that it was cut into, or text in which blanks stand for U+2581 */

struct queued {
    struct word_key key;
    void *entry; /* its kind follows from len; NULL: too long for the cache */
    uint32_t start, len;
    enum part part;
};

struct bpe_work {
    uint32_t *id, *at, *rank; /* symbols of the word: id, first byte, rank of the pair with the next */
    uint32_t *next, *previous;
    uint64_t *heap;           /* rank << 32 | symbol */
    size_t n, cap, heap_n, heap_cap;
    struct buf spelled, marked;
    struct word_entry *cache;
    struct word_long_entry *long_cache;
    struct queued queue[QUEUE];
    unsigned queued;
};

static inline uint64_t word_load(const char *s, size_t n) /* n bytes, at most 8, little end first */
{
    uint64_t wide = 0;
    if (n >= 8)
        return memcpy(&wide, s, 8), wide;
    for (size_t i = 0; i < n; i++)
        wide |= (uint64_t)(unsigned char)s[i] << 8 * i;
    return wide;
}

static inline uint64_t word_mask(size_t n) /* of the first n bytes, n >= 1 */
{
    return ~(uint64_t)0 >> (n < 8 ? 64 - 8 * n : 0);
}

/* room: bytes that may be read from s on */
static inline void word_key_short(struct word_key *k, const char *s, size_t len, size_t room, bool part)
{
    if (room >= 16) {
        memcpy(k->bytes, s, 16);
        k->bytes[0] &= word_mask(len);
        k->bytes[1] = len > 8 ? k->bytes[1] & word_mask(len - 8) : 0;
    } else {
        k->bytes[0] = word_load(s, len);
        k->bytes[1] = len > 8 ? word_load(s + 8, len - 8) : 0;
    }
    k->bytes[1] |= (uint64_t)(len | (part ? 128u : 0)) << 56;
}

static inline void word_key_long(struct word_key *k, const char *s, size_t len, bool part)
{
    memcpy(k->bytes, s, 16);
    k->bytes[2] = word_load(s + 16, len - 16);
    k->bytes[3] = (len > 24 ? word_load(s + 24, len - 24) : 0) | (uint64_t)(len | (part ? 128u : 0)) << 56;
}

static inline uint64_t word_mix(uint64_t a, uint64_t b)
{
    uint64_t h = (a ^ b * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    return (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
}

static inline struct word_entry *word_place(const struct bpe_work *w, const struct word_key *k)
{
    return &w->cache[word_mix(k->bytes[0], k->bytes[1]) >> (64 - WORD_SHORT_BITS)];
}

static inline struct word_long_entry *word_long_place(const struct bpe_work *w, const struct word_key *k)
{
    return &w->long_cache[word_mix(word_mix(k->bytes[0], k->bytes[1]) ^ k->bytes[2], k->bytes[3]) >> (64 - WORD_LONG_BITS)];
}

#endif
