/* UTF-8 at byte level. */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Offset of the first byte that is not valid UTF-8 (surrogates and overlong forms are not valid), or len. */
size_t utf8_valid(const char *s, size_t len);
/* Decodes the character at s[*i] (s is valid from there) and moves *i past it. */
static inline uint32_t utf8_next(const char *s, size_t len, size_t *i)
{
    const unsigned char *p = (const unsigned char *)s + *i;
    (void)len;
    if (p[0] < 0x80)
        return *i += 1, p[0];
    if (p[0] < 0xE0)
        return *i += 2, (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    if (p[0] < 0xF0)
        return *i += 3, (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    return *i += 4, (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}
/* Writes 1 to 4 bytes, returns their number. */
int utf8_put(char out[4], uint32_t c);
/* Length of the longest prefix of s that does not end inside a character (for streaming output). */
size_t utf8_complete(const char *s, size_t len);
/* Appends s with each maximal invalid subsequence replaced by U+FFFD (Rust's from_utf8_lossy, Python's errors="replace"). */
void utf8_add_lossy(struct buf *out, const char *s, size_t len);
size_t utf8_count(const char *s, size_t len); /* code points of valid text */

#endif
