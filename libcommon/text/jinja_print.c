/* str() and repr() of every value. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "text/jinja_internal.h"

/* Shortest decimal text that reads back as f, in Python's layout: exponent form below 1e-4 and from 1e16 on. */
size_t jfloat_text(double f, char out[32])
{
    if (isnan(f) || isinf(f))
        return (size_t)sprintf(out, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
    char e[32], digits[20];
    int precision = 0;
    do
        snprintf(e, sizeof e, "%.*e", precision, f);
    while (strtod(e, NULL) != f && ++precision < 17);
    char *mantissa = e + (*e == '-'), *exponent = strchr(e, 'e');
    int power = atoi(exponent + 1), n = 0;
    for (char *c = mantissa; c < exponent; c++)
        if (*c != '.')
            digits[n++] = *c;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    char *o = out;
    if (*e == '-')
        *o++ = '-';
    if (power < -4 || power >= 16) {
        *o++ = digits[0];
        if (n > 1)
            o += sprintf(o, ".%.*s", n - 1, digits + 1);
        o += sprintf(o, "e%c%02d", power < 0 ? '-' : '+', abs(power));
    } else if (power < 0) {
        o += sprintf(o, "0.%.*s%.*s", -power - 1, "0000", n, digits);
    } else {
        for (int i = 0; i <= power; i++)
            *o++ = i < n ? digits[i] : '0';
        *o++ = '.';
        o += n > power + 1 ? sprintf(o, "%.*s", n - power - 1, digits + power + 1) : sprintf(o, "0");
    }
    return (size_t)(o - out);
}

static bool printable(uint32_t c)
{
    if (c < 127)
        return c >= 32;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

/* One character of repr(str): itself or an escape; everything keeps the origin of the character. */
static void repr_char(struct jbuild *b, const struct jstr *s, size_t from, size_t to, uint32_t c, char quote)
{
    char text[12];
    if (c == (uint32_t)quote || c == '\\')
        snprintf(text, sizeof text, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(text, sizeof text, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (printable(c)) {
        jbuild_sub(b, s, from, to);
        return;
    } else
        snprintf(text, sizeof text, c < 256 ? "\\x%02x" : c < 65536 ? "\\u%04x" : "\\U%08x", c);
    jbuild_add(b, text, strlen(text), jstr_tag(s, from));
}

static void repr_str(struct jbuild *b, const struct jstr *s)
{
    char quote = s->len && memchr(s->s, '\'', s->len) && !memchr(s->s, '"', s->len) ? '"' : '\'';
    char mark[2] = {quote, 0};
    if (s->markup)
        jbuild_text(b, "Markup(");
    jbuild_text(b, mark);
    for (size_t i = 0, start = 0; i < s->len;) {
        size_t from = i;
        uint32_t c = utf8_next(s->s, s->len, &i);
        if (c != (uint32_t)quote && c != '\\' && (c >= 127 ? printable(c) : c >= 32)) {
            if (i == s->len)
                jbuild_sub(b, s, start, i);
            continue;
        }
        jbuild_sub(b, s, start, from);
        repr_char(b, s, from, i, c, quote);
        start = i;
    }
    jbuild_text(b, mark);
    if (s->markup)
        jbuild_text(b, ")");
}

static void repr_list(struct jbuild *b, const struct jlist *l, char open, char close)
{
    jbuild_text(b, (char[]){open, 0});
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            jbuild_text(b, ", ");
        jbuild_repr(b, l->v[i]);
    }
    if (open == '(' && l->n == 1)
        jbuild_text(b, ",");
    jbuild_text(b, (char[]){close, 0});
}

static void repr_dict(struct jbuild *b, const struct jdict *d)
{
    jbuild_text(b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            jbuild_text(b, ", ");
        jbuild_repr(b, d->v[i].key);
        jbuild_text(b, ": ");
        jbuild_repr(b, d->v[i].value);
    }
    jbuild_text(b, "}");
}

static void repr_view(struct jbuild *b, const struct jview *v)
{
    jbuild_text(b, v->part == 'k' ? "dict_keys([" : v->part == 'v' ? "dict_values([" : "dict_items([");
    for (size_t i = 0; i < v->d->n; i++) {
        if (i)
            jbuild_text(b, ", ");
        if (v->part == 'i')
            jbuild_repr(b, jv_pair(b->r, v->d->v[i].key, v->d->v[i].value));
        else
            jbuild_repr(b, v->part == 'k' ? v->d->v[i].key : v->d->v[i].value);
    }
    jbuild_text(b, "])");
}

static void repr_number(struct jbuild *b, struct jv v)
{
    char text[64];
    if (v.kind == J_FLOAT)
        text[jfloat_text(v.f, text)] = 0;
    else
        snprintf(text, sizeof text, "%lld", (long long)v.i);
    jbuild_text(b, text);
}

/* Things without a text of their own; Python prints an address that no template can depend on. */
static void repr_object(struct jbuild *b, struct jv v)
{
    char text[200];
    switch (v.kind) {
    case J_RANGE:
        snprintf(text, sizeof text, v.range->step == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)", (long long)v.range->start,
                 (long long)v.range->stop, (long long)v.range->step);
        break;
    case J_MACRO:
        if (v.macro->node->name)
            snprintf(text, sizeof text, "<Macro '%.100s'>", v.macro->node->name->s);
        else
            snprintf(text, sizeof text, "<Macro anonymous>");
        break;
    case J_LOOP:
        jloop_repr(b->r, v.loop, text, sizeof text);
        break;
    case J_FUNCTION:
        snprintf(text, sizeof text, "<function %.100s>", v.fn->name);
        break;
    case J_METHOD:
        snprintf(text, sizeof text, "<built-in method %.100s of %.40s object>", v.method->fn->name, jv_type(v.method->self));
        break;
    default:
        snprintf(text, sizeof text, "<%.100s object>", jv_type(v));
    }
    jbuild_text(b, text);
}

void jbuild_repr(struct jbuild *b, struct jv v)
{
    jr_enter(b->r);
    jr_step(b->r, 1);
    switch (v.kind) {
    case J_UNDEF:
        jbuild_text(b, "Undefined");
        break;
    case J_MISSING:
    case J_NONE:
        jbuild_text(b, "None");
        break;
    case J_BOOL:
        jbuild_text(b, v.b ? "True" : "False");
        break;
    case J_INT:
    case J_FLOAT:
        repr_number(b, v);
        break;
    case J_STR:
        repr_str(b, v.s);
        break;
    case J_LIST:
        repr_list(b, v.l, '[', ']');
        break;
    case J_TUPLE:
        repr_list(b, v.l, '(', ')');
        break;
    case J_DICT:
        repr_dict(b, v.d);
        break;
    case J_NAMESPACE:
        jbuild_text(b, "<Namespace ");
        repr_dict(b, v.d);
        jbuild_text(b, ">");
        break;
    case J_VIEW:
        repr_view(b, v.view);
        break;
    default:
        repr_object(b, v);
    }
    jr_leave(b->r);
}

void jbuild_value(struct jbuild *b, struct jv v)
{
    if (v.kind == J_STR)
        jbuild_str(b, v.s);
    else if (v.kind != J_UNDEF)
        jbuild_repr(b, v);
}

struct jstr *jv_to_str(struct jrender *r, struct jv v)
{
    if (v.kind == J_STR)
        return v.s;
    struct jbuild b;
    jbuild_init(&b, r);
    jbuild_value(&b, v);
    return jbuild_done(&b).s;
}

const char *jv_cstr(struct jrender *r, struct jv v)
{
    const struct jstr *s = jv_to_str(r, v);
    size_t n = s->len < 600 ? s->len : utf8_complete(s->s, 600);
    char *text = jr_get(r, n + 1);
    memcpy(text, s->s ? s->s : "", n);
    text[n] = 0;
    return text;
}
