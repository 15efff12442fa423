/* JSON: the variables in, and the filter tojson out (json.dumps as transformers calls it). */
#include <math.h>
#include <stdio.h>

#include "text/jinja_internal.h"

struct jv jinja_from_json(struct jrender *r, const json_t *j, uint32_t origin)
{
    struct jv v;
    struct jtag tag = {origin, 0};
    size_t i;
    json_t *item;
    const char *key;
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        v = jv_dict(r);
        jr_enter(r);
        json_object_foreach((json_t *)j, key, item) {
            struct jv k = jv_str(r, key, strlen(key), tag); /* borrowed: the JSON outlives the render */
            jdict_set(r, v.d, k, jinja_from_json(r, item, origin));
        }
        jr_leave(r);
        return v;
    case JSON_ARRAY:
        v = jv_list(r, J_LIST, json_array_size(j));
        jr_enter(r);
        json_array_foreach(j, i, item)
            jlist_push(r, v.l, jinja_from_json(r, item, origin));
        jr_leave(r);
        return v;
    case JSON_STRING:
        return jv_str(r, json_string_value(j), json_string_length(j), tag);
    case JSON_INTEGER:
        return jv_int(json_integer_value(j));
    case JSON_REAL:
        return jv_float(json_real_value(j));
    case JSON_NULL:
        return jv_none();
    default:
        return jv_bool(json_is_true(j));
    }
}

static void json_str(struct jbuild *b, const struct jstr *s, bool ascii)
{
    size_t start = 0;
    jbuild_text(b, "\"");
    for (size_t i = 0; i < s->len;) {
        size_t from = i;
        unsigned char first = (unsigned char)s->s[i];
        if (first >= 0x20 && first != '"' && first != '\\' && (first < 0x80 || !ascii)) {
            i++;
            continue;
        }
        char text[16];
        uint32_t c = utf8_next(s->s, s->len, &i);
        static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
        const char *known = c < 128 && c ? strchr(plain, (int)c) : NULL;
        if (known)
            snprintf(text, sizeof text, "\\%c", letter[known - plain]);
        else if (c < 0x10000)
            snprintf(text, sizeof text, "\\u%04x", c);
        else
            snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
        jbuild_sub(b, s, start, from);
        jbuild_add(b, text, strlen(text), jstr_tag(s, from));
        start = i;
    }
    jbuild_sub(b, s, start, s->len);
    jbuild_text(b, "\"");
}

static void json_number(struct jbuild *b, struct jv v)
{
    char text[40];
    if (v.kind == J_FLOAT && !isfinite(v.f))
        snprintf(text, sizeof text, "%s", isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
    else if (v.kind == J_FLOAT)
        text[jfloat_text(v.f, text)] = 0;
    else
        snprintf(text, sizeof text, "%lld", (long long)v.i);
    jbuild_text(b, text);
}

struct jdump {
    bool ascii, sort;
    const struct jstr *indent, *item_sep, *key_sep;
};

static void dump(struct jbuild *b, struct jv v, const struct jdump *o, int level);

static void new_line(struct jbuild *b, const struct jdump *o, int level)
{
    if (!o->indent)
        return;
    jbuild_text(b, "\n");
    for (int i = 0; i < level; i++)
        jbuild_str(b, o->indent);
}

static void dump_key(struct jbuild *b, struct jv key, const struct jdump *o)
{
    if (key.kind == J_STR) {
        json_str(b, key.s, o->ascii);
        return;
    }
    if (!jv_is_number(key) && key.kind != J_NONE)
        jr_fail(b->r, "keys must be str, int, float, bool or None, not %s", jv_type(key));
    jbuild_text(b, "\"");
    dump(b, key, o, 0);
    jbuild_text(b, "\"");
}

/* Order of keys for sort_keys: insertion sort by binary search would need moves anyway, objects are small; merge keeps large ones fast. */
static void sort_pairs(struct jrender *r, struct jpair *v, struct jpair *scratch, size_t n)
{
    if (n < 2)
        return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    sort_pairs(r, v, scratch, half);
    sort_pairs(r, v + half, scratch, n - half);
    while (i < half && j < n)
        scratch[k++] = jv_order(r, v[j].key, v[i].key, "<") < 0 ? v[j++] : v[i++];
    while (i < half)
        scratch[k++] = v[i++];
    memcpy(v, scratch, k * sizeof *v);
}

static void dump_dict(struct jbuild *b, const struct jdict *d, const struct jdump *o, int level)
{
    const struct jpair *v = d->v;
    if (!d->n) {
        jbuild_text(b, "{}");
        return;
    }
    if (o->sort) {
        struct jpair *copy = jr_get(b->r, 2 * d->n * sizeof *copy);
        memcpy(copy, d->v, d->n * sizeof *copy);
        sort_pairs(b->r, copy, copy + d->n, d->n);
        v = copy;
    }
    jbuild_text(b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            jbuild_str(b, o->item_sep);
        new_line(b, o, level + 1);
        dump_key(b, v[i].key, o);
        jbuild_str(b, o->key_sep);
        dump(b, v[i].value, o, level + 1);
    }
    new_line(b, o, level);
    jbuild_text(b, "}");
}

static void dump_list(struct jbuild *b, const struct jlist *l, const struct jdump *o, int level)
{
    if (!l->n) {
        jbuild_text(b, "[]");
        return;
    }
    jbuild_text(b, "[");
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            jbuild_str(b, o->item_sep);
        new_line(b, o, level + 1);
        dump(b, l->v[i], o, level + 1);
    }
    new_line(b, o, level);
    jbuild_text(b, "]");
}

static void dump(struct jbuild *b, struct jv v, const struct jdump *o, int level)
{
    jr_enter(b->r);
    jr_step(b->r, 1);
    switch (v.kind) {
    case J_NONE:
        jbuild_text(b, "null");
        break;
    case J_BOOL:
        jbuild_text(b, v.b ? "true" : "false");
        break;
    case J_INT:
    case J_FLOAT:
        json_number(b, v);
        break;
    case J_STR:
        json_str(b, v.s, o->ascii);
        break;
    case J_LIST:
    case J_TUPLE:
        dump_list(b, v.l, o, level);
        break;
    case J_DICT:
        dump_dict(b, v.d, o, level);
        break;
    default:
        jr_fail(b->r, "object of type %s is not JSON serializable", jv_type(v));
    }
    jr_leave(b->r);
}

static struct jstr *text_str(struct jrender *r, const char *s)
{
    return jv_text(r, s).s;
}

struct jv jinja_tojson(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jv ascii = args->v[0], indent = args->v[1], separators = args->v[2], sort = args->v[3];
    bool indented = indent.kind != J_MISSING && indent.kind != J_NONE;
    struct jdump o = {.ascii = ascii.kind != J_MISSING && jv_true(r, ascii), .sort = sort.kind != J_MISSING && jv_true(r, sort)};
    if (indented && indent.kind == J_STR) {
        o.indent = indent.s;
    } else if (indented) {
        int64_t n = jv_need_int(r, indent, "tojson's indent");
        char *spaces = jr_get(r, n > 0 && n <= 1000 ? (size_t)n : 1);
        if (n > 1000)
            jr_fail(r, "tojson's indent is too large");
        memset(spaces, ' ', n > 0 ? (size_t)n : 0);
        o.indent = jv_str(r, spaces, n > 0 ? (size_t)n : 0, JTAG_TEMPLATE).s;
    }
    o.item_sep = text_str(r, indented ? "," : ", ");
    o.key_sep = text_str(r, ": ");
    if (separators.kind != J_MISSING && separators.kind != J_NONE) {
        if (!jv_is_seq(separators) || separators.l->n != 2)
            jr_fail(r, "tojson's separators must be two strings");
        o.item_sep = jv_need_str(r, separators.l->v[0], "tojson's separator");
        o.key_sep = jv_need_str(r, separators.l->v[1], "tojson's separator");
    }
    struct jbuild b;
    jbuild_init(&b, r);
    dump(&b, v, &o, 0);
    return jbuild_done(&b);
}
