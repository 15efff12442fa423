#include "format/json_write.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_short_escape(struct buf *b, char c)
{
    static const char from[] = "\"\\\b\t\n\f\r", to[] = "\"\\btnfr";
    const char *at = strchr(from, c);
    if (at) {
        buf_add_char(b, '\\');
        buf_add_char(b, to[at - from]);
    } else if ((unsigned char)c < 0x20 || c == 0x7f) {
        buf_printf(b, "\\u%04x", (unsigned char)c);
    } else {
        buf_add_char(b, c);
    }
}

void json_add_string(struct buf *b, const char *s)
{
    buf_add_char(b, '"');
    for (; *s; s++) {
        if (*s == 0x7f)
            buf_add_char(b, *s);
        else
            add_short_escape(b, *s);
    }
    buf_add_char(b, '"');
}

void json_add_ascii(struct buf *b, const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    buf_add_char(b, '"');
    while (*p) {
        if (*p < 0x80) {
            add_short_escape(b, (char)*p++);
            continue;
        }
        int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
        uint32_t c = *p++ & (0x3fu >> more);
        for (; more > 0 && *p; more--)
            c = c << 6 | (*p++ & 0x3f);
        if (c >= 0x10000)
            buf_printf(b, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
        else
            buf_printf(b, "\\u%04x", c);
    }
    buf_add_char(b, '"');
}

void json_add_real(struct buf *b, double v)
{
    char text[40], digits[20];
    int precision = 0, n = 0, exponent;
    do
        snprintf(text, sizeof text, "%.*e", precision, v);
    while (strtod(text, NULL) != v && precision++ < 16);
    for (const char *p = text; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    digits[n] = 0;
    exponent = atoi(strchr(text, 'e') + 1);
    if (signbit(v))
        buf_add_char(b, '-');
    if (exponent < -4 || exponent >= 16)
        buf_printf(b, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1, exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        buf_printf(b, "0.%.*s%s", -exponent - 1, "000", digits);
    else if (n <= exponent + 1)
        buf_printf(b, "%s%.*s.0", digits, exponent + 1 - n, "0000000000000000");
    else
        buf_printf(b, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
}

void json_add_number(struct buf *b, double v)
{
    if (v == floor(v) && fabs(v) < 1e15)
        buf_printf(b, "%.0f", v);
    else
        json_add_real(b, v);
}

static void new_line(struct buf *b, int depth)
{
    buf_printf(b, "\n%*s", 2 * depth, "");
}

static void add_value(struct buf *b, const json_t *v, int depth)
{
    const char *key;
    json_t *item;
    size_t i, n = 0;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        buf_add_char(b, '{');
        json_object_foreach((json_t *)v, key, item) {
            buf_add_str(b, n++ ? "," : "");
            new_line(b, depth + 1);
            json_add_ascii(b, key);
            buf_add_str(b, ": ");
            add_value(b, item, depth + 1);
        }
        if (n)
            new_line(b, depth);
        buf_add_char(b, '}');
        break;
    case JSON_ARRAY:
        buf_add_char(b, '[');
        json_array_foreach(v, i, item) {
            buf_add_str(b, i ? "," : "");
            new_line(b, depth + 1);
            add_value(b, item, depth + 1);
        }
        if (json_array_size(v))
            new_line(b, depth);
        buf_add_char(b, ']');
        break;
    case JSON_STRING:
        json_add_ascii(b, json_string_value(v));
        break;
    case JSON_INTEGER:
        buf_printf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        json_add_real(b, json_real_value(v));
        break;
    default:
        buf_add_str(b, json_is_true(v) ? "true" : json_is_false(v) ? "false" : "null");
    }
}

void json_add_value(struct buf *b, const json_t *v)
{
    add_value(b, v, 0);
}
