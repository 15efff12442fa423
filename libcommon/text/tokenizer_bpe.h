/* Private to tokenizer_bpe*.c: the scratch memory of an encoder and its cache of short words.
 *
 * The cache maps the bytes of a word to its tokens. It belongs to one thread and one tokenizer, and an entry is simply
 * replaced by the next word that falls on its place, so what comes out never depends on what was seen before. */
#ifndef TEXT_TOKENIZER_BPE_H
#define TEXT_TOKENIZER_BPE_H

#include <string.h>

#include "text/tokenizer_impl.h"

#define WORD_CACHE_KEY 15 /* bytes of the longest word kept */
#define WORD_CACHE_TOKENS 4
#define WORD_CACHE_BITS 14
#define WORD_CACHE_ENTRIES ((size_t)1 << WORD_CACHE_BITS)

struct word_key { uint64_t low, high; }; /* bytes 0-7 and 8-14; the length in the top byte */

struct word_entry {
    uint64_t low, high;                 /* the key, the number of tokens in the upper half of the top byte; 0: free */
    uint32_t tokens[WORD_CACHE_TOKENS]; /* length << 24 | id */
};

struct bpe_work {
    uint32_t *id, *at, *rank; /* symbols of the word: id, first byte, rank of the pair with the next */
    uint32_t *next, *previous;
    uint64_t *heap;           /* rank << 32 | symbol */
    size_t n, cap, heap_n, heap_cap;
    struct buf spelled;
    struct word_entry *cache;
};

static inline uint64_t word_load(const char *s, size_t n) /* 1 <= n <= 8 bytes, little end first, by overlapping loads */
{
    uint64_t wide;
    uint32_t a, b;
    if (n == 8)
        return memcpy(&wide, s, 8), wide;
    if (n >= 4) {
        memcpy(&a, s, 4);
        memcpy(&b, s + n - 4, 4);
        return (uint64_t)b << (8 * (n - 4)) | a;
    }
    const unsigned char *p = (const unsigned char *)s;
    return (uint64_t)p[n - 1] << (8 * (n - 1)) | (uint64_t)p[n / 2] << (8 * (n / 2)) | p[0];
}

static inline struct word_key word_key(const char *s, size_t len)
{
    struct word_key k;
    k.low = word_load(s, len < 8 ? len : 8);
    k.high = (uint64_t)len << 56 | (len > 8 ? word_load(s + 8, len - 8) : 0);
    return k;
}

static inline size_t word_slot(struct word_key k)
{
    uint64_t h = (k.low ^ (k.high * 0x9E3779B97F4A7C15u)) * 0xD6E8FEB86659FD93u;
    return (size_t)((h ^ h >> 32) * 0xD6E8FEB86659FD93u >> (64 - WORD_CACHE_BITS));
}

static inline bool word_matches(const struct word_entry *e, struct word_key k)
{
    return e->low == k.low && (e->high & 0x0FFFFFFFFFFFFFFFu) == k.high;
}

static inline unsigned word_count(const struct word_entry *e)
{
    return (unsigned)(e->high >> 60);
}

static inline void word_store(struct word_entry *e, struct word_key k, const uint32_t *id, const uint32_t *at, unsigned n, size_t len)
{
    e->low = k.low;
    e->high = k.high | (uint64_t)n << 60;
    for (unsigned i = 0; i < n; i++)
        e->tokens[i] = id[i] | (uint32_t)((i + 1 < n ? at[i + 1] : len) - at[i]) << 24;
}

#endif
