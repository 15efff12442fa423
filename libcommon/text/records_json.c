#include "text/records_json.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "text/records.h"
#include "text/utf8.h"

struct reader {
    const char *p, *end;
    struct buf text; /* of a string with escapes, or a key */
    int depth;
};

static json_t *read_value(struct reader *r);

static char peek(struct reader *r) /* the next character that is not white space, 0 at the end */
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
    return r->p < r->end ? *r->p : 0;
}

static bool take(struct reader *r, char c)
{
    return peek(r) == c && c ? r->p++, true : false;
}

static int read_hex(struct reader *r)
{
    int v = 0;
    if (r->end - r->p < 4)
        return -1;
    for (const char *end = r->p + 4; r->p < end; r->p++) {
        int c = *r->p, d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* Behind a backslash; NUL and lone surrogates are left to jansson. */
static bool read_escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char utf8[4];
    const char *at = r->p < r->end ? memchr(from, *r->p, 8) : NULL;
    if (at)
        return r->p++, buf_add_char(&r->text, to[at - from]), true;
    if (r->p == r->end || *r->p++ != 'u')
        return false;
    int c = read_hex(r);
    if (c >= 0xD800 && c < 0xDC00) {
        if (r->end - r->p < 6 || r->p[0] != '\\' || r->p[1] != 'u')
            return false;
        r->p += 2;
        int low = read_hex(r);
        if (low < 0xDC00 || low > 0xDFFF)
            return false;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    } else if (c <= 0 || (c >= 0xDC00 && c < 0xE000)) {
        return false;
    }
    return buf_add(&r->text, utf8, (size_t)utf8_put(utf8, (uint32_t)c)), true;
}

static bool is_plain(char c)
{
    return (unsigned char)c >= 0x20 && c != '"' && c != '\\';
}

/* The string at p; *s is in the text, or in r->text when there are escapes. */
static bool read_string(struct reader *r, const char **s, size_t *len)
{
    if (!take(r, '"'))
        return false;
    const char *from = r->p;
    while (r->p < r->end && is_plain(*r->p))
        r->p++;
    *s = from;
    *len = (size_t)(r->p - from);
    if (r->p < r->end && *r->p == '\\') {
        buf_clear(&r->text);
        while (r->p < r->end && *r->p == '\\') {
            buf_add(&r->text, from, (size_t)(r->p++ - from));
            if (!read_escape(r))
                return false;
            for (from = r->p; r->p < r->end && is_plain(*r->p);)
                r->p++;
        }
        buf_add(&r->text, from, (size_t)(r->p - from));
        *s = r->text.data;
        *len = r->text.len;
    }
    return r->p < r->end && *r->p++ == '"' && utf8_valid(*s, *len) == *len;
}

static json_t *read_text(struct reader *r)
{
    const char *s;
    size_t len;
    return read_string(r, &s, &len) ? json_stringn_nocheck(s, len) : NULL;
}

static bool read_member(struct reader *r, json_t *object)
{
    const char *s;
    size_t len;
    if (!read_string(r, &s, &len))
        return false;
    if (s != r->text.data) {
        buf_clear(&r->text);
        buf_add(&r->text, s, len);
    }
    if (json_object_get(object, r->text.data) || !take(r, ':'))
        return false;
    struct buf key = r->text;
    r->text = (struct buf)BUF_INIT; /* the value may need the place */
    json_t *value = read_value(r);
    bool good = value && json_object_set_new_nocheck(object, key.data, value) == 0;
    buf_release(&r->text);
    r->text = key;
    return good;
}

/* From behind the opening bracket on; takes the reference of `all`. */
static json_t *read_members(struct reader *r, json_t *all, char close)
{
    bool good = ++r->depth <= RECORDS_MAX_DEPTH;
    if (good && !take(r, close)) {
        do {
            json_t *value = json_is_object(all) ? NULL : read_value(r);
            good = json_is_object(all) ? read_member(r, all) : value && json_array_append_new(all, value) == 0;
        } while (good && take(r, ','));
        good = good && take(r, close);
    }
    r->depth--;
    if (!good)
        json_decref(all);
    return good ? all : NULL;
}

static json_t *read_number(struct reader *r)
{
    bool minus = *r->p == '-';
    const char *from = r->p += minus;
    json_int_t n = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && r->p - from < 18)
        n = n * 10 + (*r->p++ - '0');
    size_t digits = (size_t)(r->p - from);
    if (!digits || (digits > 1 && *from == '0') || (r->p < r->end && strchr(".eE0123456789", *r->p)))
        return NULL;
    return json_integer(minus ? -n : n);
}

static json_t *read_word(struct reader *r, const char *word, json_t *value)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n))
        return NULL;
    r->p += n;
    return value;
}

static json_t *read_value(struct reader *r)
{
    char c = peek(r);
    switch (c) {
    case '"':
        return read_text(r);
    case '{':
        r->p++;
        return read_members(r, json_object(), '}');
    case '[':
        r->p++;
        return read_members(r, json_array(), ']');
    case 't':
        return read_word(r, "true", json_true());
    case 'f':
        return read_word(r, "false", json_false());
    case 'n':
        return read_word(r, "null", json_null());
    default:
        return c == '-' || (c >= '0' && c <= '9') ? read_number(r) : NULL;
    }
}

json_t *records_json(const char *text, size_t len)
{
    struct reader r = {text, text + len, BUF_INIT, 0};
    json_t *j = peek(&r) == '{' ? read_value(&r) : NULL;
    if (j && (peek(&r), r.p < r.end)) {
        json_decref(j);
        j = NULL;
    }
    buf_release(&r.text);
    return j;
}
