/* Methods of str, dict, list and tuple; the sandbox's list of what may not be called. */
#include "text/jinja_internal.h"

#define ARG(i) (args->v[i])
#define GIVEN(i) (args->v[i].kind != J_MISSING && args->v[i].kind != J_NONE)
#define METHOD(name) static struct jv str_##name(struct jrender *r, struct jv self, const struct jargs *args)

/* Results of methods of markup are markup. */
static struct jv like(struct jv self, struct jv v)
{
    v.s->markup = self.s->markup;
    return v;
}

static struct jstr *chars_of(struct jrender *r, const struct jargs *args)
{
    return GIVEN(0) ? jv_need_str(r, ARG(0), "the characters to strip") : NULL;
}

METHOD(strip) { return jstr_strip(r, self.s, chars_of(r, args), true, true); }
METHOD(lstrip) { return jstr_strip(r, self.s, chars_of(r, args), true, false); }
METHOD(rstrip) { return jstr_strip(r, self.s, chars_of(r, args), false, true); }
METHOD(upper) { (void)args; return jstr_case(r, self.s, 'u'); }
METHOD(lower) { (void)args; return jstr_case(r, self.s, 'l'); }
METHOD(title) { (void)args; return jstr_case(r, self.s, 't'); }
METHOD(capitalize) { (void)args; return jstr_case(r, self.s, 'c'); }
METHOD(swapcase) { (void)args; return jstr_case(r, self.s, 's'); }

/* ---- where ---- */

/* Byte range of the optional code point bounds args[at], args[at + 1]. false: the range is empty because start lies behind the end. */
static bool bounds(struct jrender *r, struct jstr *s, const struct jargs *args, size_t at, size_t *from, size_t *to)
{
    int64_t n = (int64_t)jstr_chars(r, s), start = GIVEN(at) ? jv_need_int(r, ARG(at), "start") : 0, end = GIVEN(at + 1) ? jv_need_int(r, ARG(at + 1), "end") : n;
    start = start < 0 ? (start < -n ? 0 : start + n) : start;
    end = end < 0 ? (end < -n ? 0 : end + n) : end > n ? n : end;
    if (start > end)
        return false;
    *from = jstr_offset(r, s, (size_t)start);
    *to = jstr_offset(r, s, (size_t)end);
    return true;
}

static int64_t find(struct jrender *r, struct jv self, const struct jargs *args, bool last)
{
    size_t from, to, at;
    jr_step(r, self.s->len / 64);
    if (!bounds(r, self.s, args, 1, &from, &to) || (at = jstr_find(self.s, jv_need_str(r, ARG(0), "what to find"), from, to, last)) == SIZE_MAX)
        return -1;
    return (int64_t)utf8_count(self.s->s, at);
}

METHOD(find) { return jv_int(find(r, self, args, false)); }
METHOD(rfind) { return jv_int(find(r, self, args, true)); }

static struct jv index_of(struct jrender *r, struct jv self, const struct jargs *args, bool last)
{
    int64_t i = find(r, self, args, last);
    if (i < 0)
        jr_fail(r, "substring not found");
    return jv_int(i);
}

METHOD(index) { return index_of(r, self, args, false); }
METHOD(rindex) { return index_of(r, self, args, true); }

METHOD(count)
{
    struct jstr *what = jv_need_str(r, ARG(0), "what to count");
    size_t from, to, at;
    int64_t n = 0;
    if (!bounds(r, self.s, args, 1, &from, &to))
        return jv_int(0);
    if (!what->len)
        return jv_int((int64_t)utf8_count(self.s->s + from, to - from) + 1);
    jr_step(r, self.s->len / 64);
    for (; (at = jstr_find(self.s, what, from, to, false)) != SIZE_MAX; n++)
        from = at + what->len;
    return jv_int(n);
}

static bool affix(struct jrender *r, struct jv self, const struct jargs *args, bool end)
{
    struct jv what = ARG(0);
    size_t from, to, n = what.kind == J_TUPLE ? what.l->n : 1;
    if (!bounds(r, self.s, args, 1, &from, &to))
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct jstr *w = jv_need_str(r, what.kind == J_TUPLE ? what.l->v[i] : what, end ? "endswith's first argument" : "startswith's first argument");
        if (w->len <= to - from && !memcmp(self.s->s + (end ? to - w->len : from), w->s, w->len))
            return true;
    }
    return false;
}

METHOD(startswith) { return jv_bool(affix(r, self, args, false)); }
METHOD(endswith) { return jv_bool(affix(r, self, args, true)); }

METHOD(removeprefix)
{
    const struct jstr *w = jv_need_str(r, ARG(0), "the prefix");
    bool has = w->len <= self.s->len && !memcmp(self.s->s, w->s, w->len);
    return jv_sub(r, self.s, has ? w->len : 0, self.s->len);
}

METHOD(removesuffix)
{
    const struct jstr *w = jv_need_str(r, ARG(0), "the suffix");
    bool has = w->len <= self.s->len && !memcmp(self.s->s + self.s->len - w->len, w->s, w->len);
    return jv_sub(r, self.s, 0, self.s->len - (has ? w->len : 0));
}

/* ---- apart and together ---- */

static void reverse(struct jlist *l)
{
    for (size_t i = 0, j = l->n; i + 1 < j; i++) {
        struct jv swap = l->v[i];
        l->v[i] = l->v[--j];
        l->v[j] = swap;
    }
}

static void split_space(struct jrender *r, struct jstr *s, int64_t max, struct jlist *l)
{
    size_t i = jspace_start(s->s, s->len);
    while (i < s->len) {
        size_t from = i, end = i;
        jr_step(r, 1);
        if (max-- == 0) {
            jlist_push(r, l, jv_sub(r, s, from, s->len));
            return;
        }
        while (i < s->len && !jchar_is_space(utf8_next(s->s, s->len, &i)))
            end = i;
        jlist_push(r, l, jv_sub(r, s, from, end));
        i = end + jspace_start(s->s + end, s->len - end);
    }
}

static void rsplit_space(struct jrender *r, struct jstr *s, int64_t max, struct jlist *l)
{
    size_t end = jspace_end(s->s, s->len);
    while (end) {
        size_t from = end;
        jr_step(r, 1);
        if (max-- == 0) {
            jlist_push(r, l, jv_sub(r, s, 0, end));
            break;
        }
        while (from) {
            size_t start = from - 1, next;
            while (start && (s->s[start] & 0xC0) == 0x80)
                start--;
            next = start;
            if (jchar_is_space(utf8_next(s->s, s->len, &next)))
                break;
            from = start;
        }
        jlist_push(r, l, jv_sub(r, s, from, end));
        end = jspace_end(s->s, from);
    }
    reverse(l);
}

static struct jv split(struct jrender *r, struct jv self, const struct jargs *args, bool right)
{
    struct jv l = jv_list(r, J_LIST, 0);
    int64_t max = GIVEN(1) ? jv_need_int(r, ARG(1), "maxsplit") : -1;
    struct jstr *s = self.s;
    max = max < 0 ? -1 : max;
    if (!GIVEN(0)) {
        (right ? rsplit_space : split_space)(r, s, max, l.l);
        return l;
    }
    const struct jstr *sep = jv_need_str(r, ARG(0), "the separator");
    size_t from = 0, to = s->len, at;
    if (!sep->len)
        jr_fail(r, "empty separator");
    jr_step(r, s->len / 64);
    while (max-- != 0 && (at = jstr_find(s, sep, from, to, right)) != SIZE_MAX) {
        jr_step(r, 1);
        jlist_push(r, l.l, right ? jv_sub(r, s, at + sep->len, to) : jv_sub(r, s, from, at));
        if (right)
            to = at;
        else
            from = at + sep->len;
        max = max < 0 ? -1 : max;
    }
    jlist_push(r, l.l, jv_sub(r, s, from, to));
    if (right)
        reverse(l.l);
    return l;
}

METHOD(split) { return split(r, self, args, false); }
METHOD(rsplit) { return split(r, self, args, true); }
METHOD(splitlines) { return jstr_splitlines(r, self.s, GIVEN(0) && jv_true(r, ARG(0))); }

static struct jv partition(struct jrender *r, struct jv self, const struct jargs *args, bool right)
{
    const struct jstr *sep = jv_need_str(r, ARG(0), "the separator");
    size_t n = self.s->len, at;
    struct jv t = jv_list(r, J_TUPLE, 3);
    if (!sep->len)
        jr_fail(r, "empty separator");
    at = jstr_find(self.s, sep, 0, n, right);
    size_t a = at == SIZE_MAX ? (right ? 0 : n) : at, b = at == SIZE_MAX ? a : at + sep->len;
    jlist_push(r, t.l, jv_sub(r, self.s, 0, a));
    jlist_push(r, t.l, jv_sub(r, self.s, a, b));
    jlist_push(r, t.l, jv_sub(r, self.s, b, n));
    return t;
}

METHOD(partition) { return partition(r, self, args, false); }
METHOD(rpartition) { return partition(r, self, args, true); }

METHOD(join)
{
    struct jiter *it = jiter_new(r, ARG(0));
    struct jbuild b;
    struct jv item;
    jbuild_init(&b, r);
    for (size_t i = 0; jiter_next(it, &item); i++) {
        if (item.kind != J_STR)
            jr_fail(r, "sequence item %zu: expected str instance, %s found", i, jv_type(item));
        if (i)
            jbuild_str(&b, self.s);
        jbuild_str(&b, self.s->markup ? jop_escape(r, item).s : item.s);
    }
    return like(self, jbuild_done(&b));
}

METHOD(replace)
{
    struct jstr *old = jv_need_str(r, ARG(0), "what to replace"), *with = jv_need_str(r, ARG(1), "the replacement");
    if (self.s->markup)
        with = jop_escape(r, ARG(1)).s;
    return like(self, jstr_replace(r, self.s, old, with, args->v[2].kind == J_MISSING ? -1 : jv_need_int(r, ARG(2), "count")));
}

METHOD(format) { return like(self, jstr_format(r, self.s, args)); }

/* ---- width ---- */

static struct jv pad(struct jrender *r, struct jv self, int64_t left, int64_t right, struct jv with)
{
    struct jbuild b;
    if (with.kind == J_MISSING)
        with = jv_text(r, " ");
    if (jstr_chars(r, jv_need_str(r, with, "the fill character")) != 1)
        jr_fail(r, "the fill character must be exactly one character long");
    jbuild_init(&b, r);
    jbuild_str(&b, jop_binary(r, OP_MUL, with, jv_int(left)).s);
    jbuild_str(&b, self.s);
    jbuild_str(&b, jop_binary(r, OP_MUL, with, jv_int(right)).s);
    return like(self, jbuild_done(&b));
}

static int64_t missing_width(struct jrender *r, struct jv self, const struct jargs *args, int64_t *width)
{
    *width = jv_need_int(r, ARG(0), "the width");
    int64_t n = (int64_t)jstr_chars(r, self.s);
    return *width > n ? *width - n : 0;
}

METHOD(ljust) { int64_t w; return pad(r, self, 0, missing_width(r, self, args, &w), ARG(1)); }
METHOD(rjust) { int64_t w; return pad(r, self, missing_width(r, self, args, &w), 0, ARG(1)); }

METHOD(center)
{
    int64_t w, n = missing_width(r, self, args, &w), left = n / 2 + (n & w & 1);
    return pad(r, self, left, n - left, ARG(1));
}

METHOD(zfill)
{
    int64_t w, n = missing_width(r, self, args, &w);
    bool sign = self.s->len && (self.s->s[0] == '+' || self.s->s[0] == '-');
    struct jbuild b;
    jbuild_init(&b, r);
    jbuild_sub(&b, self.s, 0, sign);
    jbuild_str(&b, jop_binary(r, OP_MUL, jv_text(r, "0"), jv_int(n)).s);
    jbuild_sub(&b, self.s, sign, self.s->len);
    return jbuild_done(&b);
}

METHOD(expandtabs)
{
    int64_t size = GIVEN(0) ? jv_need_int(r, ARG(0), "the tab size") : 8, column = 0;
    struct jbuild b;
    jbuild_init(&b, r);
    for (size_t i = 0; i < self.s->len;) {
        size_t from = i;
        uint32_t c = utf8_next(self.s->s, self.s->len, &i);
        if (c != '\t') {
            jbuild_sub(&b, self.s, from, i);
            column = c == '\n' || c == '\r' ? 0 : column + 1;
        } else if (size > 0) {
            int64_t n = size - column % size;
            jbuild_str(&b, jop_binary(r, OP_MUL, jv_text(r, " "), jv_int(n)).s);
            column += n;
        }
    }
    return jbuild_done(&b);
}

const struct jbuiltin jmethods_str[] = {
    {"strip", str_strip, "chars"}, {"lstrip", str_lstrip, "chars"}, {"rstrip", str_rstrip, "chars"}, {"split", str_split, "sep maxsplit"},
    {"rsplit", str_rsplit, "sep maxsplit"}, {"startswith", str_startswith, "!prefix start end"}, {"endswith", str_endswith, "!suffix start end"},
    {"replace", str_replace, "!old !new count"}, {"join", str_join, "!iterable"}, {"format", str_format, NULL}, {"upper", str_upper, ""},
    {"lower", str_lower, ""}, {"title", str_title, ""}, {"capitalize", str_capitalize, ""}, {"swapcase", str_swapcase, ""},
    {"find", str_find, "!sub start end"}, {"rfind", str_rfind, "!sub start end"}, {"index", str_index, "!sub start end"},
    {"rindex", str_rindex, "!sub start end"}, {"count", str_count, "!sub start end"}, {"removeprefix", str_removeprefix, "!prefix"},
    {"removesuffix", str_removesuffix, "!suffix"}, {"splitlines", str_splitlines, "keepends"}, {"partition", str_partition, "!sep"},
    {"rpartition", str_rpartition, "!sep"}, {"ljust", str_ljust, "!width fillchar"}, {"rjust", str_rjust, "!width fillchar"},
    {"center", str_center, "!width fillchar"}, {"zfill", str_zfill, "!width"}, {"expandtabs", str_expandtabs, "tabsize"}, {NULL, NULL, NULL},
};
