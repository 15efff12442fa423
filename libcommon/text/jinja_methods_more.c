/* Methods: what kind of text is it (str.is...), dict, list and tuple; and which ones the sandbox refuses. */
#include <utf8proc.h>

#include "text/jinja_internal.h"

#define ARG(i) (args->v[i])

/* ---- str.is...: true when there is a character and all of them qualify ---- */

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

static bool is_alpha(uint32_t c)
{
    return category(c) >= UTF8PROC_CATEGORY_LU && category(c) <= UTF8PROC_CATEGORY_LO;
}

static bool is_decimal(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_ND;
}

static bool is_digit(uint32_t c) /* and superscript, circled ... digits */
{
    return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0x2070 && c <= 0x2079 && category(c) == UTF8PROC_CATEGORY_NO) ||
           (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247C) || (c >= 0x2488 && c <= 0x2490) ||
           c == 0x24EA || (c >= 0x24F5 && c <= 0x24FD) || c == 0x24FF || (c >= 0x2776 && c <= 0x277E) || (c >= 0x2780 && c <= 0x2788) ||
           (c >= 0x278A && c <= 0x2792);
}

static bool is_numeric(uint32_t c)
{
    return category(c) >= UTF8PROC_CATEGORY_ND && category(c) <= UTF8PROC_CATEGORY_NO;
}

static bool is_alnum(uint32_t c)
{
    return is_alpha(c) || is_numeric(c);
}

static bool is_printable(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return c == ' ' || !(k == UTF8PROC_CATEGORY_CN || k >= UTF8PROC_CATEGORY_ZS);
}

static struct jv all(struct jv self, bool (*is)(uint32_t), bool if_empty)
{
    const struct jstr *s = self.s;
    for (size_t i = 0; i < s->len;)
        if (!is(utf8_next(s->s, s->len, &i)))
            return jv_bool(false);
    return jv_bool(s->len || if_empty);
}

#define IS(name, test, if_empty) \
    static struct jv str_##name(struct jrender *r, struct jv self, const struct jargs *args) { (void)r, (void)args; return all(self, test, if_empty); }
IS(isalpha, is_alpha, false)
IS(isalnum, is_alnum, false)
IS(isdecimal, is_decimal, false)
IS(isdigit, is_digit, false)
IS(isnumeric, is_numeric, false)
IS(isspace, jchar_is_space, false)
IS(isprintable, is_printable, true)

static struct jv str_isascii(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)args;
    return jv_bool(jstr_chars(r, self.s) == self.s->len);
}

/* islower, isupper: some letter with a case, and none of the other */
static struct jv one_case(struct jv self, bool upper)
{
    bool any = false;
    for (size_t i = 0; i < self.s->len;) {
        utf8proc_int32_t c = (utf8proc_int32_t)utf8_next(self.s->s, self.s->len, &i);
        if (upper ? utf8proc_islower(c) : utf8proc_isupper(c))
            return jv_bool(false);
        if (category((uint32_t)c) == UTF8PROC_CATEGORY_LT)
            return jv_bool(false);
        any |= upper ? utf8proc_isupper(c) : utf8proc_islower(c);
    }
    return jv_bool(any);
}

static struct jv str_islower(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)r, (void)args;
    return one_case(self, false);
}

static struct jv str_isupper(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)r, (void)args;
    return one_case(self, true);
}

static struct jv str_istitle(struct jrender *r, struct jv self, const struct jargs *args)
{
    bool any = false, in_word = false;
    (void)r, (void)args;
    for (size_t i = 0; i < self.s->len;) {
        uint32_t c = utf8_next(self.s->s, self.s->len, &i);
        bool upper = utf8proc_isupper((utf8proc_int32_t)c) || category(c) == UTF8PROC_CATEGORY_LT, lower = utf8proc_islower((utf8proc_int32_t)c) && !upper;
        if (upper ? in_word : lower && !in_word)
            return jv_bool(false);
        any |= upper || lower;
        in_word = upper || lower;
    }
    return jv_bool(any);
}

static struct jv str_isidentifier(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)r, (void)args;
    for (size_t i = 0; i < self.s->len;) {
        bool first = !i;
        uint32_t c = utf8_next(self.s->s, self.s->len, &i);
        utf8proc_category_t k = category(c);
        bool start = is_alpha(c) || c == '_' || k == UTF8PROC_CATEGORY_NL;
        if (!start && (first || !(k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_PC)))
            return jv_bool(false);
    }
    return jv_bool(self.s->len);
}

const struct jbuiltin jmethods_str_is[] = {
    {"isalpha", str_isalpha, ""}, {"isalnum", str_isalnum, ""}, {"isdecimal", str_isdecimal, ""}, {"isdigit", str_isdigit, ""},
    {"isnumeric", str_isnumeric, ""}, {"isspace", str_isspace, ""}, {"isprintable", str_isprintable, ""}, {"isascii", str_isascii, ""},
    {"islower", str_islower, ""}, {"isupper", str_isupper, ""}, {"istitle", str_istitle, ""}, {"isidentifier", str_isidentifier, ""}, {NULL, NULL, NULL},
};

/* ---- dict ---- */

static struct jv dict_get(struct jrender *r, struct jv self, const struct jargs *args)
{
    struct jv *found = jdict_get(r, self.d, ARG(0));
    return found ? *found : ARG(1).kind == J_MISSING ? jv_none() : ARG(1);
}

static struct jv view(struct jrender *r, struct jv self, char part)
{
    struct jv v = {.kind = J_VIEW, .view = jr_get(r, sizeof *v.view)};
    *v.view = (struct jview){self.d, part};
    return v;
}

static struct jv dict_keys(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)args;
    return view(r, self, 'k');
}

static struct jv dict_values(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)args;
    return view(r, self, 'v');
}

static struct jv dict_items(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)args;
    return view(r, self, 'i');
}

static struct jv dict_copy(struct jrender *r, struct jv self, const struct jargs *args)
{
    struct jv d = jv_dict(r);
    (void)args;
    for (size_t i = 0; i < self.d->n; i++)
        jdict_set(r, d.d, self.d->v[i].key, self.d->v[i].value);
    return d;
}

static struct jv dict_fromkeys(struct jrender *r, struct jv self, const struct jargs *args)
{
    struct jiter *it = jiter_new(r, ARG(0));
    struct jv d = jv_dict(r), key;
    (void)self;
    while (jiter_next(it, &key))
        jdict_set(r, d.d, key, ARG(1).kind == J_MISSING ? jv_none() : ARG(1));
    return d;
}

/* ---- list, tuple, range ---- */

static struct jv list_count(struct jrender *r, struct jv self, const struct jargs *args)
{
    struct jiter *it = jiter_new(r, self);
    struct jv v;
    int64_t n = 0;
    while (jiter_next(it, &v))
        n += jv_equal(r, v, ARG(0));
    return jv_int(n);
}

static struct jv list_index(struct jrender *r, struct jv self, const struct jargs *args)
{
    int64_t n = 0;
    jv_length(r, self, &n);
    int64_t from = ARG(1).kind == J_MISSING ? 0 : jv_need_int(r, ARG(1), "start"), to = ARG(2).kind == J_MISSING ? n : jv_need_int(r, ARG(2), "stop");
    from += from < 0 ? n : 0, to += to < 0 ? n : 0;
    struct jiter *it = jiter_new(r, self);
    struct jv v;
    for (int64_t i = 0; jiter_next(it, &v); i++)
        if (i >= from && i < to && jv_equal(r, v, ARG(0)))
            return jv_int(i);
    jr_fail(r, "the value is not in the %s", jv_type(self));
}

static struct jv list_copy(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)args;
    return jv_to_list(r, self);
}

static struct jv float_is_integer(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)r, (void)args;
    return jv_bool(self.f - self.f == 0 && self.f == __builtin_floor(self.f));
}

/* ---- cycler ---- */

static struct jv cycler_next(struct jrender *r, struct jv self, const struct jargs *args)
{
    struct jcycler *c = self.cycler;
    (void)r, (void)args;
    struct jv v = c->items.v[c->pos];
    c->pos = (c->pos + 1) % c->items.n;
    return v;
}

static struct jv cycler_reset(struct jrender *r, struct jv self, const struct jargs *args)
{
    (void)r, (void)args;
    self.cycler->pos = 0;
    return jv_none();
}

static const struct jbuiltin methods_dict[] = {{"get", dict_get, "!key default"}, {"items", dict_items, ""}, {"keys", dict_keys, ""},
    {"values", dict_values, ""}, {"copy", dict_copy, ""}, {"fromkeys", dict_fromkeys, "!iterable value"}, {NULL, NULL, NULL}};
static const struct jbuiltin methods_list[] = {{"index", list_index, "!value start stop"}, {"count", list_count, "!value"}, {"copy", list_copy, ""}, {NULL, NULL, NULL}};
static const struct jbuiltin methods_float[] = {{"is_integer", float_is_integer, ""}, {NULL, NULL, NULL}};
static const struct jbuiltin methods_cycler[] = {{"next", cycler_next, ""}, {"reset", cycler_reset, ""}, {NULL, NULL, NULL}};
static const struct jbuiltin methods_global_dict[] = {{"fromkeys", dict_fromkeys, "!iterable value"}, {NULL, NULL, NULL}};

static const struct jbuiltin *find_in(const struct jbuiltin *table, const char *name, size_t len)
{
    for (; table->name; table++)
        if (strlen(table->name) == len && !memcmp(table->name, name, len))
            return table;
    return NULL;
}

/* The immutable sandbox hides what would change a list or a dict. */
static bool refused(enum jkind kind, const char *name, size_t len)
{
    static const char *const list[] = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort", NULL};
    static const char *const dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    for (const char *const *p = kind == J_DICT ? dict : list; *p; p++)
        if (strlen(*p) == len && !memcmp(*p, name, len))
            return true;
    return false;
}

const struct jbuiltin *jmethod_find(struct jv v, const char *name, size_t len, bool *unsafe)
{
    const struct jbuiltin *m;
    switch (v.kind) {
    case J_STR:
        m = find_in(jmethods_str, name, len);
        return m ? m : find_in(jmethods_str_is, name, len);
    case J_DICT:
        *unsafe = refused(J_DICT, name, len);
        return find_in(methods_dict, name, len);
    case J_LIST:
        *unsafe = refused(J_LIST, name, len);
        return find_in(methods_list, name, len);
    case J_TUPLE:
    case J_RANGE:
        m = find_in(methods_list, name, len);
        return m && m->fn != list_copy ? m : NULL;
    case J_FLOAT:
        return find_in(methods_float, name, len);
    case J_CYCLER:
        return find_in(methods_cycler, name, len);
    case J_FUNCTION:
        return !strcmp(v.fn->name, "dict") ? find_in(methods_global_dict, name, len) : NULL;
    default:
        return NULL;
    }
}
