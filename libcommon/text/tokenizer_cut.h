/* Private to tokenizer*.c: places inside words that no merge ever crosses.
 *
 * What a merge makes is a token, and a token is the text it stands for. So where no token of the vocabulary has character a next to
 * character b, no merge joins across such a place, the merges on its two sides know nothing of each other, and a word may be cut there
 * into parts that are encoded (and remembered) one by one. In Chinese that is most places, and without a pre-tokenizer every
 * beginning of a word. cuts_prepare() finds the pairs; what it cannot be sure of is not cut:
 * tokens of byte words may begin or end inside characters, and characters may vanish or be fused with their neighbours. */
#ifndef TEXT_TOKENIZER_CUT_H
#define TEXT_TOKENIZER_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CUTS_BITS 19            /* of the table of pairs, by hash: one that is there by chance keeps a place whole, which does no harm */
#define CUTS_CHARACTERS 0x10000 /* characters beyond are never cut off */

struct cuts {
    uint64_t *joined;           /* pairs of neighbours in a token; NULL: nothing is ever cut */
    uint64_t *after, *before;   /* characters that may be joined with anything behind or before them (in joined's block) */
};

struct bpe;
void cuts_prepare(struct cuts *c, const struct bpe *b);
void cuts_release(struct cuts *c);

static inline bool cuts_bit(const uint64_t *set, uint32_t i)
{
    return set[i >> 6] >> (i & 63) & 1;
}

static inline uint32_t cuts_hash(uint32_t a, uint32_t b)
{
    return (a << 16 ^ b) * 0x9E3779B1u >> (32 - CUTS_BITS);
}

static inline bool cuts_between(const struct cuts *c, uint32_t a, uint32_t b)
{
    return (a | b) < CUTS_CHARACTERS && !cuts_bit(c->joined, cuts_hash(a, b)) && !cuts_bit(c->after, a) && !cuts_bit(c->before, b);
}

/* End of the part of the word s that starts at i. `space` is what a blank stands for. */
size_t cuts_next(const struct cuts *c, const char *s, size_t i, size_t len, uint32_t space);

#endif
