/* Filters on text. */
#include <stdio.h>
#include <utf8proc.h>

#include "text/jinja_internal.h"

#define ARG(i) (args->v[i])
#define GIVEN(i) (args->v[i].kind != J_MISSING)

static struct jv as_str(struct jstr *s)
{
    return (struct jv){.kind = J_STR, .s = s};
}

static struct jv filter_trim(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jstr *chars = GIVEN(0) && ARG(0).kind != J_NONE ? jv_need_str(r, ARG(0), "trim's characters") : NULL;
    return jstr_strip(r, jv_to_str(r, v), chars, true, true);
}

static struct jv filter_upper(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    return jstr_case(r, jv_to_str(r, v), 'u');
}

static struct jv filter_lower(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    return jstr_case(r, jv_to_str(r, v), 'l');
}

static struct jv filter_capitalize(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    return jstr_case(r, jv_to_str(r, v), 'c');
}

/* Words begin after whitespace and -({[<, not after an apostrophe. */
static struct jv filter_title(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jstr *s = jv_to_str(r, v);
    struct jbuild b;
    (void)args;
    jbuild_init(&b, r);
    for (size_t i = 0; i < s->len;) {
        size_t from = i, end = i;
        utf8_next(s->s, s->len, &i);
        jbuild_str(&b, jstr_case(r, jv_sub(r, s, from, i).s, 'u').s);
        for (end = i; end < s->len;) { /* to the end of this word or of this run of separators */
            size_t next = end, before = from;
            uint32_t c = utf8_next(s->s, s->len, &next), first = utf8_next(s->s, s->len, &before);
            bool separator = jchar_is_space(c) || strchr("-({[<", (int)(c < 128 && c ? c : 'x'));
            bool in_separator = jchar_is_space(first) || strchr("-({[<", (int)(first < 128 && first ? first : 'x'));
            if (separator != in_separator)
                break;
            end = next;
        }
        jbuild_str(&b, jstr_case(r, jv_sub(r, s, i, end).s, 'l').s);
        i = end;
    }
    return jbuild_done(&b);
}

static struct jv filter_replace(struct jrender *r, struct jv v, const struct jargs *args)
{
    int64_t count = GIVEN(2) && ARG(2).kind != J_NONE ? jv_need_int(r, ARG(2), "replace's count") : -1;
    struct jstr plain = *jv_to_str(r, v);
    plain.markup = false;
    return jstr_replace(r, &plain, jv_to_str(r, ARG(0)), jv_to_str(r, ARG(1)), count);
}

/* indent(width, first, blank) */
static struct jv filter_indent(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jv text = jv_text(r, "\n"), pad;
    bool first = GIVEN(1) && jv_true(r, ARG(1)), blank = GIVEN(2) && jv_true(r, ARG(2));
    if (GIVEN(0) && ARG(0).kind == J_STR) {
        pad = ARG(0);
    } else {
        int64_t n = GIVEN(0) ? jv_need_int(r, ARG(0), "indent's width") : 4;
        pad = jop_binary(r, OP_MUL, jv_text(r, " "), jv_int(n));
    }
    text = jop_binary(r, OP_ADD, v, text); /* so that the last newline is kept */
    struct jv lines = jstr_splitlines(r, text.s, false);
    struct jbuild b;
    jbuild_init(&b, r);
    if (first)
        jbuild_str(&b, pad.s);
    for (size_t i = 0; i < lines.l->n; i++) {
        const struct jstr *line = lines.l->v[i].s;
        if (i)
            jbuild_text(&b, "\n");
        if (i && (blank || line->len))
            jbuild_str(&b, pad.s);
        jbuild_str(&b, line);
    }
    return jbuild_done(&b);
}

static struct jv filter_center(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jstr *s = jv_to_str(r, v);
    int64_t width = GIVEN(0) ? jv_need_int(r, ARG(0), "center's width") : 80, n = (int64_t)jstr_chars(r, s);
    if (width <= n)
        return as_str(s);
    int64_t pad = width - n, left = pad / 2 + (pad & width & 1);
    struct jbuild b;
    jbuild_init(&b, r);
    jbuild_str(&b, jop_binary(r, OP_MUL, jv_text(r, " "), jv_int(left)).s);
    jbuild_str(&b, s);
    jbuild_str(&b, jop_binary(r, OP_MUL, jv_text(r, " "), jv_int(pad - left)).s);
    return jbuild_done(&b);
}

/* truncate(length, killwords, end, leeway) */
static struct jv filter_truncate(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jstr *s = jv_need_str(r, v, "what truncate shortens"), *end = GIVEN(2) ? jv_need_str(r, ARG(2), "truncate's end") : jv_text(r, "...").s;
    int64_t length = GIVEN(0) ? jv_need_int(r, ARG(0), "truncate's length") : 255;
    int64_t leeway = GIVEN(3) && ARG(3).kind != J_NONE ? jv_need_int(r, ARG(3), "truncate's leeway") : 5, tail = (int64_t)jstr_chars(r, end);
    if (length < tail || leeway < 0)
        jr_fail(r, "truncate's length is shorter than its end, or its leeway is negative");
    int64_t room;
    if (__builtin_add_overflow(length, leeway, &room) || (int64_t)jstr_chars(r, s) <= room)
        return v;
    size_t cut = jstr_offset(r, s, (size_t)(length - tail));
    if (!(GIVEN(1) && jv_true(r, ARG(1))))
        for (size_t i = cut; i--;)
            if (s->s[i] == ' ') {
                cut = i;
                break;
            }
    return jop_binary(r, OP_ADD, jv_sub(r, s, 0, cut), as_str(end));
}

bool jchar_is_word(uint32_t c)
{
    if (c < 128)
        return (c | 0x20) - 'a' < 26u || c - '0' < 10u || c == '_';
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) || (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

static struct jv filter_wordcount(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jstr *s = jv_to_str(r, v);
    int64_t n = 0;
    bool inside = false;
    (void)args;
    for (size_t i = 0; i < s->len;) {
        bool word = jchar_is_word(utf8_next(s->s, s->len, &i));
        n += word && !inside;
        inside = word;
    }
    return jv_int(n);
}

static void url_quote(struct jbuild *b, const struct jstr *s, bool query)
{
    for (size_t i = 0; i < s->len; i++) {
        unsigned char c = (unsigned char)s->s[i];
        char text[4] = {(char)c, 0};
        if (c == ' ' && query)
            text[0] = '+';
        else if (!(c < 128 && (((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9') || strchr(query ? "_.-~" : "_.-~/", c))) || !c)
            snprintf(text, sizeof text, "%%%02X", c);
        jbuild_add(b, text, strlen(text), jstr_tag(s, i));
    }
}

static struct jv filter_urlencode(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jbuild b;
    struct jv item;
    (void)args;
    jbuild_init(&b, r);
    if (v.kind == J_STR || (v.kind != J_DICT && !jv_is_seq(v))) {
        url_quote(&b, jv_to_str(r, v), false);
        return jbuild_done(&b);
    }
    struct jiter *it = jiter_new(r, v);
    for (size_t i = 0; jiter_next(it, &item); i++) {
        struct jv pair = v.kind == J_DICT ? jv_pair(r, v.d->v[i].key, v.d->v[i].value) : jv_to_list(r, item);
        if (pair.l->n != 2)
            jr_fail(r, "urlencode needs pairs");
        if (i)
            jbuild_text(&b, "&");
        url_quote(&b, jv_to_str(r, pair.l->v[0]), true);
        jbuild_text(&b, "=");
        url_quote(&b, jv_to_str(r, pair.l->v[1]), true);
    }
    return jbuild_done(&b);
}

static struct jv filter_format(struct jrender *r, struct jv v, const struct jargs *args)
{
    if (args->n && args->n_kw)
        jr_fail(r, "format takes positional or named values, not both");
    struct jv values = jv_list(r, J_TUPLE, args->n);
    for (size_t i = 0; i < args->n; i++)
        jlist_push(r, values.l, args->v[i]);
    if (args->n_kw) {
        values = jv_dict(r);
        for (size_t k = 0; k < args->n_kw; k++)
            jdict_set(r, values.d, jv_str(r, args->kw_name[k].s, args->kw_name[k].len, JTAG_TEMPLATE), args->kw[k]);
    }
    return jstr_percent(r, jv_to_str(r, v), values);
}

static struct jv filter_xmlattr(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jbuild b;
    bool space = !GIVEN(0) || jv_true(r, ARG(0)), any = false;
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (v.kind != J_DICT)
        jr_fail(r, "xmlattr needs a mapping, not %s", jv_type(v));
    jbuild_init(&b, r);
    for (size_t i = 0; i < v.d->n; i++) {
        struct jv key = v.d->v[i].key, value = v.d->v[i].value;
        if (value.kind == J_NONE || value.kind == J_UNDEF)
            continue;
        const struct jstr *name = jv_need_str(r, key, "an attribute's name");
        for (size_t k = 0; k < name->len; k++)
            if (memchr(" \t\n\r\f\v/>=", name->s[k], 9))
                jr_fail(r, "invalid character in an attribute's name: '%s'", jv_cstr(r, key));
        if (any || space)
            jbuild_text(&b, " ");
        any = true;
        jbuild_str(&b, jop_escape(r, key).s);
        jbuild_text(&b, "=\"");
        jbuild_str(&b, jop_escape(r, value).s);
        jbuild_text(&b, "\"");
    }
    return jbuild_done(&b);
}

const struct jbuiltin jfilters_str[] = {
    {"trim", filter_trim, "chars"},
    {"upper", filter_upper, ""},
    {"lower", filter_lower, ""},
    {"capitalize", filter_capitalize, ""},
    {"title", filter_title, ""},
    {"replace", filter_replace, "!old !new count"},
    {"indent", filter_indent, "width first blank"},
    {"center", filter_center, "width"},
    {"truncate", filter_truncate, "length killwords end leeway"},
    {"wordcount", filter_wordcount, ""},
    {"urlencode", filter_urlencode, ""},
    {"format", filter_format, NULL},
    {"xmlattr", filter_xmlattr, "autospace"},
    {"wordwrap", jfilter_wordwrap, "width break_long_words wrapstring break_on_hyphens"},
    {"striptags", jfilter_striptags, ""},
    {NULL, NULL, NULL},
};
