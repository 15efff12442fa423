/* Python's two ways to format: "{:>5} {x}".format(...) and "%5s %(x)d" % ... */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/jinja_internal.h"

#define MAX_WIDTH 1000000
#define MAX_PRECISION 400

/* [[fill]align][sign][#][0][width][,][.precision][type] */
struct jspec {
    uint32_t fill;
    char align, sign, comma, type;
    bool alternate, zero;
    int64_t width, precision; /* precision -1: not given */
};

static int64_t read_number(struct jrender *r, const struct jstr *s, size_t *i, int64_t limit)
{
    int64_t n = 0;
    for (; *i < s->len && s->s[*i] >= '0' && s->s[*i] <= '9'; ++*i) {
        n = n * 10 + (s->s[*i] - '0');
        if (n > limit)
            jr_fail(r, "a width or precision in a format is too large");
    }
    return n;
}

static bool one_of(const struct jstr *s, size_t i, const char *set)
{
    return i < s->len && s->s[i] && strchr(set, s->s[i]);
}

static struct jspec read_spec(struct jrender *r, const struct jstr *s)
{
    struct jspec f = {.fill = ' ', .precision = -1};
    size_t i = 0, next = 0;
    uint32_t first = s->len ? utf8_next(s->s, s->len, &next) : 0;
    if (s->len && one_of(s, next, "<>=^"))
        f.fill = first, f.align = s->s[next], i = next + 1;
    else if (one_of(s, 0, "<>=^"))
        f.align = s->s[i++];
    if (one_of(s, i, "+- "))
        f.sign = s->s[i++];
    if (one_of(s, i, "#"))
        f.alternate = true, i++;
    if (one_of(s, i, "0")) {
        f.zero = true, i++;
        f.fill = f.align ? f.fill : '0';
    }
    f.width = read_number(r, s, &i, MAX_WIDTH);
    if (one_of(s, i, ",_"))
        f.comma = s->s[i++];
    if (one_of(s, i, ".")) {
        size_t start = ++i;
        f.precision = read_number(r, s, &i, MAX_WIDTH);
        if (i == start)
            jr_fail(r, "format specifier missing precision");
    }
    if (i < s->len)
        f.type = s->s[i++];
    if (i < s->len)
        jr_fail(r, "invalid format specifier");
    return f;
}

/* Puts out text with its padding. numeric: '=' and 0 pad after the sign. */
static void put_padded(struct jbuild *b, const struct jspec *f, struct jstr *text, bool numeric)
{
    struct jrender *r = b->r;
    int64_t n = (int64_t)jstr_chars(r, text), pad = f->width > n ? f->width - n : 0, left;
    char align = f->align ? f->align : numeric ? (f->zero ? '=' : '>') : '<';
    size_t sign = numeric && text->len && strchr("+- ", text->s[0]) ? 1 : 0;
    if (align == '=' && sign < text->len && numeric && text->len > sign + 1 && text->s[sign] == '0' && strchr("xXob", text->s[sign + 1]))
        sign += 2;
    if (align == '=')
        jbuild_sub(b, text, 0, sign);
    left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    for (int64_t i = 0; i < left; i++)
        jbuild_char(b, f->fill, JTAG_TEMPLATE);
    jbuild_sub(b, text, align == '=' ? sign : 0, text->len);
    for (int64_t i = left; i < pad; i++)
        jbuild_char(b, f->fill, JTAG_TEMPLATE);
}

/* Inserts the separator between groups of digits of the integer part that begins at `digits`. */
static char *grouped(struct jrender *r, const char *text, size_t digits, char comma, size_t group)
{
    size_t n = strlen(text), end = digits;
    while (end < n && ((text[end] >= '0' && text[end] <= '9') || (group == 4 && strchr("abcdefABCDEF", text[end]))))
        end++;
    char *out = jr_get(r, n * 2 + 1), *o = out;
    for (size_t i = 0; i < n; i++) {
        if (i > digits && i < end && (end - i) % group == 0)
            *o++ = comma;
        *o++ = text[i];
    }
    *o = 0;
    return out;
}

static void sign_text(char *out, bool negative, char sign)
{
    out[0] = negative ? '-' : sign == '+' || sign == ' ' ? sign : 0;
    out[1] = 0;
}

static char *int_text(struct jrender *r, int64_t i, const struct jspec *f)
{
    char digits[80], sign[2], *text = jr_get(r, 90);
    uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
    int n = 0;
    uint64_t base = f->type == 'b' ? 2 : f->type == 'o' ? 8 : f->type == 'x' || f->type == 'X' ? 16 : 10;
    do
        digits[n++] = (f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
    while (u /= base);
    sign_text(sign, i < 0, f->sign);
    int at = sprintf(text, "%s%s", sign, f->alternate && base != 10 ? (char[]){'0', f->type, 0} : "");
    int first = at;
    while (n)
        text[at++] = digits[--n];
    text[at] = 0;
    return f->comma ? grouped(r, text, (size_t)first, f->comma, base == 10 ? 3 : 4) : text;
}

static char *float_text(struct jrender *r, double x, const struct jspec *f)
{
    char type = f->type ? f->type : 'r', sign[2], pattern[16], *text = jr_get(r, MAX_PRECISION + 400);
    int precision = f->precision < 0 ? 6 : (int)f->precision;
    if (f->precision > MAX_PRECISION)
        jr_fail(r, "a precision in a format is too large");
    if (type == 'n')
        type = 'g';
    sign_text(sign, signbit(x) && !isnan(x), f->sign);
    double value = fabs(type == '%' ? x * 100 : x);
    size_t at = (size_t)sprintf(text, "%s", sign);
    if (!isfinite(value)) {
        sprintf(text + at, "%s", isnan(value) ? (type >= 'E' && type <= 'G' ? "NAN" : "nan") : type >= 'E' && type <= 'G' ? "INF" : "inf");
    } else if (type == 'r' && f->precision < 0) {
        text[at + jfloat_text(value, text + at)] = 0;
    } else {
        char c = type == '%' || type == 'F' ? 'f' : type == 'r' ? 'g' : type;
        if (c == 'g' || c == 'G')
            precision = precision ? precision : 1;
        snprintf(pattern, sizeof pattern, f->alternate ? "%%#.*%c" : "%%.*%c", c);
        snprintf(text + at, MAX_PRECISION + 390, pattern, precision, value);
        if (type == 'r' && !strpbrk(text + at, ".e")) /* as repr: a float shows that it is one */
            strcat(text + at, ".0");
    }
    if (type == '%')
        strcat(text, "%");
    return f->comma && isfinite(value) ? grouped(r, text, at, f->comma, 3) : text;
}

/* format(v, spec) */
static void format_value(struct jbuild *b, struct jv v, const struct jstr *spec)
{
    struct jrender *r = b->r;
    if (!spec->len) {
        jbuild_value(b, v);
        return;
    }
    struct jspec f = read_spec(r, spec);
    if (v.kind == J_STR) {
        if ((f.type && f.type != 's') || f.sign || f.comma || f.align == '=' || f.alternate)
            jr_fail(r, "a format of a str does not allow '%c'", f.type ? f.type : '=');
        struct jstr *s = v.s;
        if (f.precision >= 0 && f.precision < (int64_t)jstr_chars(r, s))
            s = jv_sub(r, s, 0, jstr_offset(r, s, (size_t)f.precision)).s;
        put_padded(b, &f, s, false);
    } else if (jv_is_int(v) && (!f.type || strchr("dnboxX", f.type))) {
        if (f.precision >= 0)
            jr_fail(r, "a precision is not allowed in the format of an integer");
        put_padded(b, &f, jv_text(r, int_text(r, jv_as_int(v), &f)).s, true);
    } else if (jv_is_int(v) && f.type == 'c') {
        char utf8[5] = "";
        if (jv_as_int(v) < 0 || jv_as_int(v) > 0x10FFFF || (jv_as_int(v) >= 0xD800 && jv_as_int(v) < 0xE000))
            jr_fail(r, "%%c: not a character");
        put_padded(b, &f, jv_str(r, utf8, (size_t)utf8_put(utf8, (uint32_t)jv_as_int(v)), JTAG_TEMPLATE).s, false);
    } else if (jv_is_number(v)) {
        if (f.type && !strchr("eEfFgGn%", f.type))
            jr_fail(r, "unknown format code '%c' for object of type '%s'", f.type, jv_type(v));
        put_padded(b, &f, jv_text(r, float_text(r, jv_as_float(v), &f)).s, true);
    } else {
        jr_fail(r, "unsupported format string passed to %s", jv_type(v));
    }
}

/* ---- str.format ---- */

struct jfields {
    struct jbuild *b;
    const struct jargs *args;
    int64_t next; /* automatic numbering; -1: numbered by hand */
    int depth;
};

static struct jv field_first(struct jfields *x, const struct jstr *s, size_t from, size_t to)
{
    struct jrender *r = x->b->r;
    bool digits = to > from;
    int64_t index = 0;
    for (size_t i = from; i < to; i++)
        digits &= s->s[i] >= '0' && s->s[i] <= '9';
    if (digits && to - from > 9)
        jr_fail(r, "too many decimal digits in a format string");
    for (size_t i = from; digits && i < to; i++)
        index = index * 10 + (s->s[i] - '0');
    if (from == to || digits) {
        if (digits ? x->next > 0 : x->next < 0)
            jr_fail(r, "a format numbers its fields either all by hand or none");
        if (!digits)
            index = x->next++;
        else
            x->next = -1;
        if (index >= (int64_t)x->args->n)
            jr_fail(r, "replacement index %lld out of range for positional arguments", (long long)index);
        return x->args->v[index];
    }
    for (size_t k = 0; k < x->args->n_kw; k++)
        if (x->args->kw_name[k].len == to - from && !memcmp(x->args->kw_name[k].s, s->s + from, to - from))
            return x->args->kw[k];
    jr_fail(r, "the format names '%.*s', which is not given", (int)(to - from < 60 ? to - from : 60), s->s + from);
}

/* name.attr[key]... */
static struct jv field_value(struct jfields *x, const struct jstr *s, size_t from, size_t to)
{
    struct jrender *r = x->b->r;
    size_t i = from;
    while (i < to && s->s[i] != '.' && s->s[i] != '[')
        i++;
    struct jv v = field_first(x, s, from, i);
    while (i < to) {
        bool attr = s->s[i] == '.';
        size_t start = ++i;
        while (i < to && (attr ? s->s[i] != '.' && s->s[i] != '[' : s->s[i] != ']'))
            i++;
        if (start == i || (!attr && i == to))
            jr_fail(r, "empty or broken attribute in a format string");
        struct jv key = jv_sub(r, s, start, i);
        if (!attr && strspn(s->s + start, "0123456789") >= i - start && i - start < 10)
            key = jv_int(strtoll(jv_cstr(r, key), NULL, 10));
        v = attr ? jv_attr(r, v, key.s->s, key.s->len) : jv_item(r, v, key);
        if (v.kind == J_UNDEF)
            jv_fail_undef(r, v);
        i += !attr;
    }
    return v;
}

static void format_into(struct jfields *x, const struct jstr *s, size_t from, size_t to);

static void format_field(struct jfields *x, const struct jstr *s, size_t from, size_t to)
{
    struct jrender *r = x->b->r;
    size_t name = from, spec;
    int bracket = 0;
    while (name < to && (bracket || (s->s[name] != '!' && s->s[name] != ':'))) {
        bracket += s->s[name] == '[' ? 1 : s->s[name] == ']' ? -1 : 0;
        name++;
    }
    struct jv v = field_value(x, s, from, name);
    spec = name;
    if (name < to && s->s[name] == '!') {
        char how = name + 1 < to ? s->s[name + 1] : 0;
        if ((how != 'r' && how != 's' && how != 'a') || (name + 2 < to && s->s[name + 2] != ':'))
            jr_fail(r, "a format's conversion must be !r, !s or !a");
        struct jbuild text;
        jbuild_init(&text, r);
        if (how == 's')
            jbuild_value(&text, v);
        else
            jbuild_repr(&text, v);
        v = jbuild_done(&text);
        spec = name + 2;
    }
    struct jbuild built;
    jbuild_init(&built, r);
    if (spec < to) {
        struct jfields inner = {&built, x->args, x->next, x->depth + 1};
        if (inner.depth > 2)
            jr_fail(r, "fields of a format are nested too deeply");
        format_into(&inner, s, spec + 1, to);
        x->next = inner.next;
    }
    struct jv spec_text = jbuild_done(&built);
    if (s->markup)
        v = jop_escape(r, v);
    format_value(x->b, v, spec_text.s);
}

static void format_into(struct jfields *x, const struct jstr *s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        char c = s->s[i];
        if (c != '{' && c != '}') {
            size_t end = i;
            while (end < to && s->s[end] != '{' && s->s[end] != '}')
                end++;
            jbuild_sub(x->b, s, i, end);
            i = end - 1;
        } else if (i + 1 < to && s->s[i + 1] == c && x->depth == 0) {
            jbuild_sub(x->b, s, i, i + 1);
            i++;
        } else if (c == '}') {
            jr_fail(x->b->r, "single '}' in a format string");
        } else {
            int open = 1;
            size_t end = i + 1;
            for (; end < to; end++) {
                open += s->s[end] == '{' ? 1 : s->s[end] == '}' ? -1 : 0;
                if (!open)
                    break;
            }
            if (end == to)
                jr_fail(x->b->r, "single '{' in a format string");
            format_field(x, s, i + 1, end);
            i = end;
        }
    }
}

struct jv jstr_format(struct jrender *r, struct jstr *format, const struct jargs *args)
{
    struct jbuild b;
    struct jfields x = {&b, args, 0, 0};
    jbuild_init(&b, r);
    format_into(&x, format, 0, format->len);
    return jbuild_done(&b);
}

/* ---- % ---- */

struct jpercent {
    struct jrender *r;
    struct jv args;
    size_t used, n;
    bool tuple, mapped;
};

static struct jv next_value(struct jpercent *x)
{
    if (x->used >= x->n)
        jr_fail(x->r, "not enough arguments for format string");
    return x->tuple ? x->args.l->v[x->used++] : (x->used++, x->args);
}

static int64_t star_or_number(struct jpercent *x, const struct jstr *s, size_t *i)
{
    if (!one_of(s, *i, "*"))
        return read_number(x->r, s, i, MAX_WIDTH);
    ++*i;
    int64_t n = jv_need_int(x->r, next_value(x), "* in a format");
    if (n > MAX_WIDTH || n < -MAX_WIDTH)
        jr_fail(x->r, "a width or precision in a format is too large");
    return n;
}

static struct jstr *char_str(struct jrender *r, uint32_t c)
{
    struct jbuild b;
    jbuild_init(&b, r);
    jbuild_char(&b, c, JTAG_TEMPLATE);
    return jbuild_done(&b).s;
}

static void put_conversion(struct jpercent *x, struct jbuild *b, struct jspec *f, struct jv v)
{
    struct jrender *r = x->r;
    struct jstr *text;
    if (strchr("sra", f->type)) {
        struct jbuild one;
        jbuild_init(&one, r);
        if (f->type == 's')
            jbuild_value(&one, v);
        else
            jbuild_repr(&one, v);
        text = jbuild_done(&one).s;
        if (f->precision >= 0 && f->precision < (int64_t)jstr_chars(r, text))
            text = jv_sub(r, text, 0, jstr_offset(r, text, (size_t)f->precision)).s;
    } else if (f->type == 'c') {
        if (v.kind == J_STR && jstr_chars(r, v.s) == 1)
            text = v.s;
        else if (jv_is_int(v) && jv_as_int(v) >= 0 && jv_as_int(v) < 0xD800)
            text = char_str(r, (uint32_t)jv_as_int(v));
        else
            jr_fail(r, "%%c requires an int or one character");
    } else if (!jv_is_number(v)) {
        if (v.kind == J_UNDEF)
            jv_fail_undef(r, v);
        jr_fail(r, "%%%c format: a number is required, not %s", f->type, jv_type(v));
    } else if (strchr("diuoxX", f->type)) {
        if (v.kind == J_FLOAT && (strchr("oxX", f->type) || !(fabs(v.f) < 0x1p63)))
            jr_fail(r, "%%%c format: an integer is required, not float", f->type);
        f->type = strchr("diu", f->type) ? 'd' : f->type;
        text = jv_text(r, int_text(r, v.kind == J_FLOAT ? (int64_t)v.f : jv_as_int(v), f)).s;
    } else {
        text = jv_text(r, float_text(r, jv_as_float(v), f)).s;
    }
    put_padded(b, f, text, !strchr("srac", f->type));
}

static size_t percent_one(struct jpercent *x, struct jbuild *b, const struct jstr *s, size_t i)
{
    struct jrender *r = x->r;
    struct jspec f = {.fill = ' ', .precision = -1, .align = '>'};
    struct jv v = jv_missing();
    if (one_of(s, i, "(")) {
        size_t end = ++i;
        while (end < s->len && s->s[end] != ')')
            end++;
        if (end == s->len || x->args.kind != J_DICT)
            jr_fail(r, end == s->len ? "incomplete format key" : "format requires a mapping");
        struct jv *found = jdict_get_text(r, x->args.d, s->s + i, end - i);
        if (!found)
            jr_fail(r, "the format names '%.*s', which is not given", (int)(end - i < 60 ? end - i : 60), s->s + i);
        v = *found, x->mapped = true, i = end + 1;
    }
    for (; one_of(s, i, "#0- +"); i++) {
        char c = s->s[i];
        f.alternate |= c == '#';
        f.zero |= c == '0';
        f.align = c == '-' ? '<' : f.align;
        f.sign = c == '+' || (c == ' ' && f.sign != '+') ? c : f.sign;
    }
    f.width = star_or_number(x, s, &i);
    if (f.width < 0)
        f.width = -f.width, f.align = '<';
    if (one_of(s, i, "."))
        i++, f.precision = star_or_number(x, s, &i), f.precision = f.precision < 0 ? 0 : f.precision;
    while (one_of(s, i, "hlL"))
        i++;
    if (i >= s->len)
        jr_fail(r, "incomplete format");
    f.type = s->s[i];
    if (f.type == '%') {
        jbuild_text(b, "%");
        return i + 1;
    }
    if (!one_of(s, i, "diuoxXeEfFgGcrsa"))
        jr_fail(r, "unsupported format character '%c'", f.type);
    if (f.zero && f.align != '<' && !strchr("srac", f.type))
        f.align = '=', f.fill = '0';
    if (v.kind == J_MISSING)
        v = next_value(x);
    put_conversion(x, b, &f, s->markup && f.type == 's' ? jop_escape(r, v) : v);
    return i + 1;
}

struct jv jstr_percent(struct jrender *r, struct jstr *format, struct jv args)
{
    struct jbuild b;
    bool tuple = args.kind == J_TUPLE;
    struct jpercent x = {.r = r, .args = args, .tuple = tuple, .n = tuple ? args.l->n : 1};
    jbuild_init(&b, r);
    for (size_t i = 0; i < format->len;) {
        const char *p = memchr(format->s + i, '%', format->len - i);
        size_t at = p ? (size_t)(p - format->s) : format->len;
        jbuild_sub(&b, format, i, at);
        i = at < format->len ? percent_one(&x, &b, format, at + 1) : at;
    }
    if (x.used < x.n && (tuple || (args.kind != J_DICT && args.kind != J_LIST && !x.mapped)))
        jr_fail(r, "not all arguments converted during string formatting");
    struct jv v = jbuild_done(&b);
    v.s->markup = format->markup;
    return v;
}
