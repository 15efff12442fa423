#include "text/utf8.h"

#include <string.h>

/* Length of the well-formed sequence at s, or 0; *bad is then the length of the maximal invalid subsequence (Unicode 16,
 * section 3.9, table 3-7 and "U+FFFD substitution of maximal subparts"). */
static size_t sequence(const unsigned char *s, size_t len, size_t *bad)
{
    unsigned char lead = s[0], low = 0x80, high = 0xBF;
    size_t need;
    *bad = 1;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    if (lead < 0xE0) {
        need = 2;
    } else if (lead < 0xF0) {
        need = 3;
        low = lead == 0xE0 ? 0xA0 : low;
        high = lead == 0xED ? 0x9F : high;
    } else {
        need = 4;
        low = lead == 0xF0 ? 0x90 : low;
        high = lead == 0xF4 ? 0x8F : high;
    }
    for (size_t i = 1; i < need; i++) {
        if (i == len || s[i] < low || s[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80, high = 0xBF;
    }
    return need;
}

size_t utf8_valid(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0, bad;
    while (i < len) {
        uint64_t word;
        if (len - i >= 8 && (memcpy(&word, p + i, 8), !(word & 0x8080808080808080))) {
            i += 8;
            continue;
        }
        size_t n = sequence(p + i, len - i, &bad);
        if (!n)
            return i;
        i += n;
    }
    return len;
}

int utf8_put(char out[4], uint32_t c)
{
    if (c < 0x80)
        return out[0] = (char)c, 1;
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t utf8_complete(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t bad;
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char b = p[len - back];
        if (b < 0x80)
            break;
        if (b >= 0xC0) /* cut only when what is there could still become a character */
            return !sequence(p + len - back, back, &bad) && bad == back && b >= 0xC2 && b <= 0xF4 ? len - back : len;
    }
    return len;
}

void utf8_add_lossy(struct buf *out, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;
    while (i < len) {
        size_t good = i + utf8_valid(s + i, len - i), bad = 1;
        buf_add(out, s + i, good - i);
        i = good;
        if (i < len) {
            sequence(p + i, len - i, &bad);
            buf_add(out, "\xEF\xBF\xBD", 3);
            i += bad;
        }
    }
}

size_t utf8_count(const char *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += (s[i] & 0xC0) != 0x80;
    return n;
}
