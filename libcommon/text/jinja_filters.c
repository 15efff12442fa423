/* Filters on any value, numbers and JSON; and the table of all filters. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_internal.h"

#define ARG(i) (args->v[i])
#define GIVEN(i) (args->v[i].kind != J_MISSING)

static struct jv filter_default(struct jrender *r, struct jv v, const struct jargs *args)
{
    bool boolean = GIVEN(1) && jv_true(r, ARG(1));
    if (v.kind == J_UNDEF || (boolean && !jv_true(r, v)))
        return GIVEN(0) ? ARG(0) : jv_text(r, "");
    return v;
}

static struct jv filter_abs(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    if (v.kind == J_FLOAT)
        return jv_float(fabs(v.f));
    if (v.kind != J_UNDEF && !jv_is_int(v))
        jr_fail(r, "bad operand type for abs(): '%s'", jv_type(v));
    return v.kind == J_UNDEF || jv_as_int(v) < 0 ? jop_negate(r, v, true) : jv_int(jv_as_int(v));
}

static struct jv filter_length(struct jrender *r, struct jv v, const struct jargs *args)
{
    int64_t n;
    (void)args;
    if (!jv_length(r, v, &n))
        jr_fail(r, "object of type '%s' has no length", jv_type(v));
    return jv_int(n);
}

static struct jv filter_tojson(struct jrender *r, struct jv v, const struct jargs *args)
{
    return jinja_tojson(r, v, args);
}

static struct jv filter_string(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    return (struct jv){.kind = J_STR, .s = jv_to_str(r, v)};
}

static struct jv filter_safe(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    struct jstr *s = jr_get(r, sizeof *s);
    *s = *jv_to_str(r, v);
    s->markup = true;
    return (struct jv){.kind = J_STR, .s = s};
}

static struct jv filter_escape(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    return jop_escape(r, v);
}

static struct jv filter_forceescape(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    struct jstr plain = *jv_to_str(r, v);
    plain.markup = false;
    return jop_escape(r, (struct jv){.kind = J_STR, .s = &plain});
}

/* Decimal digits with single underscores between, as int() and float() take them; copied without. NULL: not such a text. */
static char *number_text(struct jrender *r, const struct jstr *s)
{
    size_t from = jspace_start(s->s, s->len), to = jspace_end(s->s, s->len), n = 0;
    char *text = jr_get(r, s->len + 1);
    for (size_t i = from; i < to; i++) {
        char c = s->s[i];
        if (c == '_' && (i == from || i + 1 >= to || (unsigned)(s->s[i - 1] - '0') >= 10 || (unsigned)(s->s[i + 1] - '0') >= 10))
            return NULL;
        if (c != '_')
            text[n++] = c;
    }
    text[n] = 0;
    return n && !memchr(text, 0, n) ? text : NULL;
}

static bool parse_float(struct jrender *r, const struct jstr *s, double *f)
{
    char *text = number_text(r, s), *end;
    if (!text || strpbrk(text, "xXpP(")) /* strtod reads hexadecimal and nan(...), Python does not */
        return false;
    *f = strtod(text, &end);
    return end != text && !*end && end[-1] != ' ';
}

static bool parse_int(struct jrender *r, const struct jstr *s, int base, int64_t *i)
{
    char *text = number_text(r, s), *p = text;
    if (!text)
        return false;
    bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    char kind = p[0] == '0' ? p[1] | 0x20 : 0;
    int prefix = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (prefix && (base == prefix || base == 0))
        p += 2, base = prefix;
    if (base == 0) {
        if (*p == '0' && strspn(p, "0") != strlen(p))
            return false;
        base = 10;
    }
    if (!*p)
        return false;
    uint64_t value = 0;
    for (; *p; p++) {
        int d = *p >= '0' && *p <= '9' ? *p - '0' : (*p | 0x20) >= 'a' && (*p | 0x20) <= 'z' ? (*p | 0x20) - 'a' + 10 : 99;
        if (d >= base)
            return false;
        if (__builtin_mul_overflow(value, (uint64_t)base, &value) || __builtin_add_overflow(value, (uint64_t)d, &value) || value > INT64_MAX)
            jr_fail(r, "an integer does not fit 64 bits");
    }
    *i = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool float_to_int(struct jrender *r, double f, int64_t *i)
{
    if (isnan(f) || isinf(f))
        return false;
    if (f >= 0x1p63 || f < -0x1p63)
        jr_fail(r, "an integer does not fit 64 bits");
    *i = (int64_t)f;
    return true;
}

static struct jv filter_int(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jv fallback = GIVEN(0) ? ARG(0) : jv_int(0);
    int64_t base = GIVEN(1) ? jv_need_int(r, ARG(1), "int's base") : 10, i;
    double f;
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (jv_is_int(v))
        return jv_int(jv_as_int(v));
    if (v.kind == J_FLOAT)
        return float_to_int(r, v.f, &i) ? jv_int(i) : isinf(v.f) ? jr_fail(r, "cannot convert float infinity to integer"), fallback : fallback;
    if (v.kind != J_STR)
        return fallback;
    if ((base == 0 || (base >= 2 && base <= 36)) && parse_int(r, v.s, (int)base, &i))
        return jv_int(i);
    if (!parse_float(r, v.s, &f))
        return fallback;
    if (isinf(f))
        jr_fail(r, "cannot convert float infinity to integer");
    return float_to_int(r, f, &i) ? jv_int(i) : fallback;
}

static struct jv filter_float(struct jrender *r, struct jv v, const struct jargs *args)
{
    double f;
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (jv_is_number(v))
        return jv_float(jv_as_float(v));
    if (v.kind == J_STR && parse_float(r, v.s, &f))
        return jv_float(f);
    return GIVEN(0) ? ARG(0) : jv_float(0);
}

/* Python's round(): exact decimal rounding, half to even. Printing with the C library rounds the exact value that way. */
static double round_places(double f, int64_t places)
{
    char text[400];
    if (!isfinite(f) || places > 308)
        return f;
    if (places < 0) {
        if (places < -308)
            return copysign(0, f);
        double unit = pow(10, (double)-places), q = f / unit;
        return rint(q) * unit;
    }
    snprintf(text, sizeof text, "%.*f", (int)places, f);
    return strtod(text, NULL);
}

static struct jv round_int(struct jrender *r, int64_t i, int64_t places)
{
    if (places >= 0)
        return jv_int(i);
    if (places < -18)
        return jv_int(0);
    int64_t unit = 1;
    while (places++)
        unit *= 10;
    int64_t q = i / unit, rest = i % unit, twice = llabs(rest) - (unit - llabs(rest)), out;
    if (twice > 0 || (!twice && q % 2))
        q += i < 0 ? -1 : 1;
    if (__builtin_mul_overflow(q, unit, &out))
        jr_fail(r, "an integer does not fit 64 bits");
    return jv_int(out);
}

static struct jv filter_round(struct jrender *r, struct jv v, const struct jargs *args)
{
    int64_t places = GIVEN(0) ? jv_need_int(r, ARG(0), "round's precision") : 0;
    const struct jstr *method = GIVEN(1) ? jv_need_str(r, ARG(1), "round's method") : NULL;
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (method && !jstr_is(method, "common") && !jstr_is(method, "ceil") && !jstr_is(method, "floor"))
        jr_fail(r, "round's method must be common, ceil or floor");
    if (!jv_is_number(v))
        jr_fail(r, "type %s has no rounding", jv_type(v));
    if (!method || jstr_is(method, "common"))
        return v.kind == J_FLOAT ? jv_float(round_places(v.f, places)) : round_int(r, jv_as_int(v), places);
    double scale = pow(10, (double)places), x = jv_as_float(v) * scale;
    x = jstr_is(method, "ceil") ? ceil(x) : floor(x);
    return jv_float(x / scale);
}

static struct jv filter_attr(struct jrender *r, struct jv v, const struct jargs *args)
{
    const struct jstr *name = jv_need_str(r, ARG(0), "attr's name");
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (v.kind == J_DICT) { /* attributes only, never keys */
        bool unsafe = false;
        if (!jmethod_find(v, name->s, name->len, &unsafe) && !unsafe)
            return jv_undef(r, jv_type(v), name->s, name->len);
    }
    return jv_attr(r, v, name->s, name->len);
}

static struct jv filter_items(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jv view = {.kind = J_VIEW};
    (void)args;
    if (v.kind != J_UNDEF && v.kind != J_DICT)
        jr_fail(r, "can only get item pairs from a mapping");
    struct jdict *d = v.kind == J_DICT ? v.d : jv_dict(r).d;
    view.view = jr_get(r, sizeof *view.view);
    *view.view = (struct jview){d, 'i'};
    struct jiter *it = jiter_new(r, view);
    it->type = "generator";
    return jv_lazy(it);
}

static struct jv filter_filesizeformat(struct jrender *r, struct jv v, const struct jargs *args)
{
    static const char letters[] = "kMGTPEZY";
    bool binary = GIVEN(0) && jv_true(r, ARG(0));
    char text[80], number[32];
    double f, base = binary ? 1024 : 1000;
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (jv_is_number(v))
        f = jv_as_float(v);
    else if (v.kind != J_STR || !parse_float(r, v.s, &f))
        jr_fail(r, "filesizeformat needs a number, not %s", jv_type(v));
    if (f == 1) {
        return jv_text(r, "1 Byte");
    }
    if (f < base) {
        if (!isfinite(f))
            jr_fail(r, "filesizeformat needs a finite number");
        snprintf(text, sizeof text, "%.0f Bytes", trunc(f));
        return jv_text(r, text);
    }
    int i = 0;
    while (i < 7 && f >= pow(base, i + 2))
        i++;
    snprintf(number, sizeof number, "%.1f", base * f / pow(base, i + 2));
    snprintf(text, sizeof text, "%s %c%sB", number, binary && !i ? 'K' : letters[i], binary ? "i" : "");
    return jv_text(r, text);
}

static struct jv filter_random(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args, (void)v;
    jr_fail(r, "the filter random gives another text each time; what is rendered here must be the same again");
}

const struct jbuiltin jfilters_basic[] = {
    {"default", filter_default, "default_value boolean"},
    {"d", filter_default, "default_value boolean"},
    {"abs", filter_abs, ""},
    {"length", filter_length, ""},
    {"count", filter_length, ""},
    {"tojson", filter_tojson, "ensure_ascii indent separators sort_keys"},
    {"string", filter_string, ""},
    {"safe", filter_safe, ""},
    {"escape", filter_escape, ""},
    {"e", filter_escape, ""},
    {"forceescape", filter_forceescape, ""},
    {"int", filter_int, "default base"},
    {"float", filter_float, "default"},
    {"round", filter_round, "precision method"},
    {"attr", filter_attr, "!name"},
    {"items", filter_items, ""},
    {"filesizeformat", filter_filesizeformat, "binary"},
    {"pprint", jfilter_pprint, ""},
    {"random", filter_random, ""},
    {NULL, NULL, NULL},
};

const struct jbuiltin *jfilter_find(const char *name, size_t len)
{
    static const struct jbuiltin *const tables[] = {jfilters_basic, jfilters_seq, jfilters_str};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct jbuiltin *f = tables[t]; f->name; f++)
            if (strlen(f->name) == len && !memcmp(f->name, name, len))
                return f;
    return NULL;
}
