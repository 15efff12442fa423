/* Our binary files end with XXH3-128 of all before it and a mark of 8 bytes: made right again after a change, since otherwise nothing
 * behind that check would be reached. */
#ifndef TESTS_TAIL_HASH_H
#define TESTS_TAIL_HASH_H

#include <stddef.h>
#include <string.h>
#include <xxhash.h>

/* at: where the hash stands, counted from the end of the file. */
static inline void tail_hash_fix(unsigned char *d, size_t size, size_t at)
{
    XXH128_canonical_t h;
    XXH128_canonicalFromHash(&h, XXH3_128bits(d, size - at));
    memcpy(d + size - at, h.digest, 16);
}

#endif
