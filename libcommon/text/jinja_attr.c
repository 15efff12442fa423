/* a.b, a["b"], a[1], a[1:2]: attribute first and then key, or the other way round. */
#include <stdio.h>

#include "text/jinja_internal.h"

static struct jv macro_attr(struct jrender *r, const struct jmacro *m, const char *name, size_t len)
{
    struct jstr key = {.s = name, .len = len};
    if (jstr_is(&key, "name"))
        return m->node->name ? jv_text(r, m->node->name->s) : jv_none();
    if (jstr_is(&key, "arguments")) {
        struct jv l = jv_list(r, J_TUPLE, m->node->list.n);
        for (size_t i = 0; i < m->node->list.n; i++)
            jlist_push(r, l.l, jv_text(r, m->node->list.v[i]->name->s));
        return l;
    }
    if (jstr_is(&key, "catch_kwargs"))
        return jv_bool(m->uses_kwargs);
    if (jstr_is(&key, "catch_varargs"))
        return jv_bool(m->uses_varargs);
    if (jstr_is(&key, "caller"))
        return jv_bool(m->uses_caller);
    return jv_missing();
}

static bool is_dunder(const char *name, size_t len)
{
    return len > 4 && name[0] == '_' && name[1] == '_' && name[len - 1] == '_' && name[len - 2] == '_';
}

/* Attributes proper, J_MISSING when there is none. */
static struct jv own_attr(struct jrender *r, struct jv v, const char *name, size_t len)
{
    bool unsafe = is_dunder(name, len) && !(v.kind == J_DICT && jdict_get_text(r, v.d, name, len));
    struct jv found = jv_missing();
    if (v.kind == J_NAMESPACE && !unsafe) {
        struct jv *value = jdict_get_text(r, v.d, name, len);
        return value ? *value : found;
    }
    if (v.kind == J_LOOP && !unsafe)
        return jloop_attr(r, v.loop, name, len);
    if (v.kind == J_TUPLE && v.l->group && ((len == 7 && !memcmp(name, "grouper", 7)) || (len == 4 && !memcmp(name, "list", 4))))
        return v.l->v[len == 4];
    if (v.kind == J_CYCLER && len == 7 && !memcmp(name, "current", 7))
        return v.cycler->items.v[v.cycler->pos];
    if (v.kind == J_MACRO && !unsafe)
        return macro_attr(r, v.macro, name, len);
    const struct jbuiltin *fn = unsafe ? NULL : jmethod_find(v, name, len, &unsafe);
    if (unsafe) {
        found = jv_undef(r, jv_type(v), name, len);
        ((struct jundef *)found.u)->unsafe = true;
        return found;
    }
    if (!fn)
        return found;
    found.kind = J_METHOD;
    found.method = jr_get(r, sizeof *found.method);
    *found.method = (struct jmethod){v, fn};
    return found;
}

static struct jv key_value(struct jrender *r, struct jv v, const char *name, size_t len)
{
    struct jv *found = v.kind == J_DICT ? jdict_get_text(r, v.d, name, len) : NULL;
    return found ? *found : jv_missing();
}

struct jv jv_attr(struct jrender *r, struct jv v, const char *name, size_t len)
{
    if (v.kind == J_UNDEF && !(len == 9 && !memcmp(name, "__class__", 9)))
        jv_fail_undef(r, v);
    struct jv found = own_attr(r, v, name, len);
    if (found.kind == J_MISSING)
        found = key_value(r, v, name, len);
    return found.kind == J_MISSING ? jv_undef(r, jv_type(v), name, len) : found;
}

static bool index_in(int64_t *i, int64_t n)
{
    *i += *i < 0 ? n : 0;
    return *i >= 0 && *i < n;
}

static struct jv by_index(struct jrender *r, struct jv v, int64_t i)
{
    int64_t n;
    if (v.kind == J_STR) {
        if (!index_in(&i, (int64_t)jstr_chars(r, v.s)))
            return jv_missing();
        size_t from = jstr_offset(r, v.s, (size_t)i), to = from;
        utf8_next(v.s->s, v.s->len, &to);
        return jv_sub(r, v.s, from, to);
    }
    if (jv_is_seq(v))
        return index_in(&i, (int64_t)v.l->n) ? v.l->v[i] : jv_missing();
    if (v.kind != J_RANGE || !jv_length(r, v, &n) || !index_in(&i, n))
        return jv_missing();
    return jv_int(v.range->start + i * v.range->step);
}

static bool hashable(struct jv v)
{
    if (v.kind == J_TUPLE)
        for (size_t i = 0; i < v.l->n; i++)
            if (!hashable(v.l->v[i]))
                return false;
    return v.kind != J_LIST && v.kind != J_DICT;
}

struct jv jv_item(struct jrender *r, struct jv v, struct jv key)
{
    struct jv found = jv_missing();
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (v.kind == J_DICT) {
        struct jv *value = hashable(key) ? jdict_get(r, v.d, key) : NULL;
        if (value)
            return *value;
    } else if (jv_is_int(key)) {
        found = by_index(r, v, jv_as_int(key));
    }
    if (found.kind == J_MISSING && key.kind == J_STR)
        found = own_attr(r, v, key.s->s, key.s->len);
    if (found.kind != J_MISSING)
        return found;
    const struct jstr *name = jv_to_str(r, key);
    return jv_undef(r, jv_type(v), name->s, name->len);
}

/* Python's slice.indices() over n items: start, stop, step and how many. */
static struct jrange slice_range(struct jrender *r, struct jv start, struct jv stop, struct jv step, int64_t n)
{
    struct jrange s = {.step = 1};
    if (step.kind != J_MISSING && step.kind != J_NONE)
        s.step = jv_need_int(r, step, "a slice's step");
    if (!s.step)
        jr_fail(r, "a slice's step cannot be zero");
    if (s.step > n + 1 || s.step < -n - 1)
        s.step = s.step < 0 ? -n - 1 : n + 1; /* the same items; the sums below stay in range */
    int64_t low = s.step < 0 ? -1 : 0, high = s.step < 0 ? n - 1 : n;
    struct jv given[2] = {start, stop};
    int64_t *bound[2] = {&s.start, &s.stop};
    for (int k = 0; k < 2; k++) {
        int64_t x;
        if (given[k].kind == J_MISSING || given[k].kind == J_NONE) {
            x = (k == 0) == (s.step > 0) ? low : high;
        } else {
            x = jv_need_int(r, given[k], "a slice's bound");
            x = x < 0 ? (x < -n ? low : x + n) : x;
            x = x < low ? low : x > high ? high : x;
        }
        *bound[k] = x;
    }
    if (s.step > 0 ? s.start < s.stop : s.start > s.stop)
        s.n = s.step > 0 ? (s.stop - s.start - 1) / s.step + 1 : (s.start - s.stop - 1) / -s.step + 1;
    return s;
}

static struct jv slice_str(struct jrender *r, struct jstr *s, const struct jrange *range)
{
    if (range->step == 1) {
        size_t from = jstr_offset(r, s, (size_t)range->start), n = (size_t)range->n;
        struct jstr rest = {.s = s->s + from, .len = s->len - from, .chars = s->chars == s->len ? s->len - from : SIZE_MAX};
        return jv_sub(r, s, from, from + jstr_offset(r, &rest, n));
    }
    size_t *at = jr_get(r, (jstr_chars(r, s) + 1) * sizeof *at), k = 0;
    for (size_t i = 0; i < s->len; utf8_next(s->s, s->len, &i))
        at[k++] = i;
    at[k] = s->len;
    struct jbuild b;
    jbuild_init(&b, r);
    jr_step(r, s->len / 16);
    for (int64_t i = 0; i < range->n; i++) {
        size_t c = (size_t)(range->start + i * range->step);
        jbuild_sub(&b, s, at[c], at[c + 1]);
    }
    struct jv v = jbuild_done(&b);
    v.s->markup = s->markup;
    return v;
}

struct jv jv_slice(struct jrender *r, struct jv v, struct jv start, struct jv stop, struct jv step)
{
    int64_t n;
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (!jv_length(r, v, &n) || v.kind == J_DICT || v.kind == J_VIEW)
        jr_fail(r, "'%s' object cannot be sliced", jv_type(v));
    struct jrange s = slice_range(r, start, stop, step, n);
    if (v.kind == J_STR)
        return slice_str(r, v.s, &s);
    jr_step(r, (size_t)s.n);
    if (v.kind == J_RANGE) {
        struct jv out = {.kind = J_RANGE, .range = jr_get(r, sizeof *out.range)};
        const struct jrange *old = v.range;
        *out.range = (struct jrange){old->start + s.start * old->step, old->start + s.stop * old->step, old->step * s.step, s.n};
        return out;
    }
    struct jv l = jv_list(r, v.kind, (size_t)s.n);
    for (int64_t i = 0; i < s.n; i++)
        jlist_push(r, l.l, v.l->v[s.start + i * s.step]);
    return l;
}

static bool all_digits(const struct jstr *s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (s->s[i] < '0' || s->s[i] > '9')
            return false;
    return to > from && to - from < 18;
}

struct jv jv_path(struct jrender *r, struct jv v, struct jv path, struct jv fallback)
{
    bool has_fallback = fallback.kind != J_MISSING && fallback.kind != J_NONE;
    if (path.kind != J_STR) {
        v = jv_item(r, v, path);
        return has_fallback && v.kind == J_UNDEF ? fallback : v;
    }
    const struct jstr *s = path.s;
    for (size_t from = 0, to; from <= s->len; from = to + 1) {
        for (to = from; to < s->len && s->s[to] != '.'; to++)
            ;
        struct jv key = jv_sub(r, s, from, to);
        if (all_digits(s, from, to)) {
            int64_t i = 0;
            for (size_t k = from; k < to; k++)
                i = i * 10 + (s->s[k] - '0');
            key = jv_int(i);
        }
        v = jv_item(r, v, key);
        if (has_fallback && v.kind == J_UNDEF)
            v = fallback;
    }
    return v;
}
