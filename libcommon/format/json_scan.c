#include "format/json_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void json_scan_init(struct json_scan *s, const void *text, size_t len, const char *what, struct err *e)
{
    *s = (struct json_scan){text, text, (const unsigned char *)text + len, what, e, 0};
}

/* Unicode 15, table 3-7: well-formed byte sequences. Returns the length of the one at p, 0 when there is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

size_t json_scan_utf8(const void *text, size_t len)
{
    const unsigned char *p = text;
    size_t i = 0;
    while (i < len) {
        uint64_t eight;
        if (len - i >= 8) {
            memcpy(&eight, p + i, 8);
            if (!(eight & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        }
        size_t n = utf8_length(p + i, len - i);
        if (n == 0)
            return i;
        i += n;
    }
    return len;
}

int json_scan_fail(struct json_scan *s, const char *expected)
{
    size_t at = (size_t)(s->p - s->start);
    if (s->p >= s->end)
        return err_set(s->e, "%s: byte %zu: found the end, expected %s", s->what, at, expected);
    if (*s->p < 0x20 || *s->p >= 0x7f)
        return err_set(s->e, "%s: byte %zu: found byte 0x%02x, expected %s", s->what, at, *s->p, expected);
    return err_set(s->e, "%s: byte %zu: found '%c', expected %s", s->what, at, *s->p, expected);
}

int json_scan_peek(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
    return s->p < s->end ? *s->p : -1;
}

bool json_scan_try(struct json_scan *s, char c)
{
    if (json_scan_peek(s) != c)
        return false;
    s->p++;
    return true;
}

int json_scan_char(struct json_scan *s, char c)
{
    const char expected[] = {'\'', c, '\'', 0};
    return json_scan_try(s, c) ? 0 : json_scan_fail(s, expected);
}

int json_scan_word(struct json_scan *s, const char *word)
{
    size_t n = strlen(word);
    json_scan_peek(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n))
        return json_scan_fail(s, word);
    s->p += n;
    return 0;
}

static int scan_hex4(struct json_scan *s, uint32_t *v)
{
    *v = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        int c = s->p < s->end ? *s->p : 0;
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return json_scan_fail(s, "four hexadecimal digits");
        *v = *v << 4 | (uint32_t)d;
    }
    return 0;
}

static void add_code_point(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_add_char(out, (char)c);
    } else if (c < 0x800) {
        buf_add_char(out, (char)(0xc0 | c >> 6));
        buf_add_char(out, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        buf_add_char(out, (char)(0xe0 | c >> 12));
        buf_add_char(out, (char)(0x80 | (c >> 6 & 63)));
        buf_add_char(out, (char)(0x80 | (c & 63)));
    } else {
        buf_add_char(out, (char)(0xf0 | c >> 18));
        buf_add_char(out, (char)(0x80 | (c >> 12 & 63)));
        buf_add_char(out, (char)(0x80 | (c >> 6 & 63)));
        buf_add_char(out, (char)(0x80 | (c & 63)));
    }
}

/* After "\u". */
static int scan_unicode(struct json_scan *s, struct buf *out)
{
    uint32_t c, low;
    if (scan_hex4(s, &c) < 0)
        return -1;
    if (c >= 0xdc00 && c <= 0xdfff)
        return json_scan_fail(s, "a high surrogate before a low one");
    if (c >= 0xd800 && c <= 0xdbff) {
        if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
            return json_scan_fail(s, "the low half of a surrogate pair");
        s->p += 2;
        if (scan_hex4(s, &low) < 0)
            return -1;
        if (low < 0xdc00 || low > 0xdfff)
            return json_scan_fail(s, "a low surrogate before this");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    add_code_point(out, c);
    return 0;
}

static int scan_escape(struct json_scan *s, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = s->p < s->end && *s->p ? strchr(from, *s->p) : NULL;
    if (at) {
        s->p++;
        buf_add_char(out, to[at - from]);
        return 0;
    }
    if (s->p >= s->end || *s->p != 'u')
        return json_scan_fail(s, "an escape");
    s->p++;
    return scan_unicode(s, out);
}

int json_scan_string(struct json_scan *s, struct buf *out)
{
    buf_clear(out);
    if (json_scan_peek(s) != '"')
        return json_scan_fail(s, "a string");
    for (s->p++;;) {
        const unsigned char *from = s->p;
        while (s->p < s->end && *s->p >= 0x20 && *s->p != '"' && *s->p != '\\')
            s->p++;
        buf_add(out, from, (size_t)(s->p - from));
        if (s->p >= s->end || *s->p < 0x20)
            return json_scan_fail(s, "the rest of a string");
        if (*s->p++ == '"')
            return 0;
        if (scan_escape(s, out) < 0)
            return -1;
    }
}

static bool is_digit(const struct json_scan *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

int json_scan_uint(struct json_scan *s, uint64_t *v)
{
    json_scan_peek(s);
    const unsigned char *from = s->p;
    *v = 0;
    if (!is_digit(s))
        return json_scan_fail(s, "a non-negative integer");
    for (; is_digit(s); s->p++)
        if (__builtin_mul_overflow(*v, 10u, v) || __builtin_add_overflow(*v, (uint64_t)(*s->p - '0'), v))
            return json_scan_fail(s, "an integer of at most 64 bits");
    bool leading_zero = *from == '0' && s->p - from > 1;
    if (leading_zero || (s->p < s->end && (*s->p == '.' || *s->p == 'e' || *s->p == 'E')))
        return json_scan_fail(s, "a plain integer");
    return 0;
}

static int skip_digits(struct json_scan *s)
{
    if (!is_digit(s))
        return json_scan_fail(s, "a digit");
    while (is_digit(s))
        s->p++;
    return 0;
}

static bool number_is_finite(const unsigned char *from, const unsigned char *to)
{
    char *text = mem_strndup((const char *)from, (size_t)(to - from));
    bool finite = isfinite(strtod(text, NULL));
    free(text);
    return finite;
}

static int skip_number(struct json_scan *s)
{
    const unsigned char *from = s->p;
    if (*s->p == '-')
        s->p++;
    if (s->p < s->end && *s->p == '0') {
        s->p++;
        if (is_digit(s))
            return json_scan_fail(s, "a number without leading zeros");
    } else if (skip_digits(s) < 0) {
        return -1;
    }
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (skip_digits(s) < 0)
            return -1;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (skip_digits(s) < 0)
            return -1;
    }
    return number_is_finite(from, s->p) ? 0 : json_scan_fail(s, "a number in the range of a double before this");
}

/* An object or array whose opening bracket is next. */
static int skip_container(struct json_scan *s, bool object, struct buf *key)
{
    char close = object ? '}' : ']';
    s->p++;
    if (++s->depth > JSON_SCAN_DEPTH)
        return json_scan_fail(s, "less than 128 levels of nesting");
    if (!json_scan_try(s, close)) {
        do {
            if (object && (json_scan_string(s, key) < 0 || json_scan_char(s, ':') < 0))
                return -1;
            if (json_scan_skip(s) < 0)
                return -1;
        } while (json_scan_try(s, ','));
        if (json_scan_char(s, close) < 0)
            return -1;
    }
    s->depth--;
    return 0;
}

int json_scan_skip(struct json_scan *s)
{
    struct buf text = BUF_INIT;
    int c = json_scan_peek(s), r;
    if (c == '{' || c == '[')
        r = skip_container(s, c == '{', &text);
    else if (c == '"')
        r = json_scan_string(s, &text);
    else if (c == 't' || c == 'f' || c == 'n')
        r = json_scan_word(s, c == 't' ? "true" : c == 'f' ? "false" : "null");
    else if (c == '-' || (c >= '0' && c <= '9'))
        r = skip_number(s);
    else
        r = json_scan_fail(s, "a value");
    buf_release(&text);
    return r;
}

int json_scan_end(struct json_scan *s)
{
    return json_scan_peek(s) < 0 ? 0 : json_scan_fail(s, "nothing more");
}
