/* Filters on sequences. */
#include "text/jinja_internal.h"

#define ARG(i) (args->v[i])
#define GIVEN(i) (args->v[i].kind != J_MISSING)

static bool flag(struct jrender *r, const struct jargs *args, size_t i)
{
    return GIVEN(i) && jv_true(r, ARG(i));
}

static struct jv filter_list(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    return jv_to_list(r, v);
}

static struct jv filter_first(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jv first;
    (void)args;
    return jiter_next(jiter_new(r, v), &first) ? first : jv_undef_text(r, "no first item, the sequence is empty");
}

static struct jv reversed(struct jrender *r, struct jv v)
{
    static const struct { enum jkind kind; const char *type; } types[] = {
        {J_LIST, "list_reverseiterator"}, {J_TUPLE, "reversed"}, {J_RANGE, "range_iterator"}, {J_DICT, "dict_reversekeyiterator"}, {J_VIEW, "dict_reverseitemiterator"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].kind == v.kind) {
            struct jiter *it = jr_get(r, sizeof *it);
            *it = (struct jiter){.source = v, .r = r, .kind = JI_REVERSED, .type = types[i].type};
            return jv_lazy(it);
        }
    return jv_missing();
}

static struct jv reversed_str(struct jrender *r, struct jv v)
{
    return jv_slice(r, v, jv_missing(), jv_missing(), jv_int(-1));
}

static struct jv filter_last(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jv last;
    (void)args;
    if (v.kind == J_STR)
        v = jv_to_list(r, v);
    struct jv back = v.kind == J_UNDEF ? jv_missing() : reversed(r, v);
    if (v.kind != J_UNDEF && back.kind == J_MISSING)
        jr_fail(r, "'%s' object is not reversible", jv_type(v));
    return v.kind != J_UNDEF && jiter_next(back.it, &last) ? last : jv_undef_text(r, "no last item, the sequence is empty");
}

static struct jv filter_reverse(struct jrender *r, struct jv v, const struct jargs *args)
{
    (void)args;
    if (v.kind == J_STR)
        return reversed_str(r, v);
    struct jv back = reversed(r, v);
    if (back.kind != J_MISSING)
        return back;
    struct jv l = jv_to_list(r, v);
    for (size_t i = 0, j = l.l->n; i + 1 < j; i++) {
        struct jv swap = l.l->v[i];
        l.l->v[i] = l.l->v[--j];
        l.l->v[j] = swap;
    }
    return l;
}

static struct jv filter_join(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jiter *it = jiter_new(r, v);
    const struct jstr *between = GIVEN(0) ? jv_to_str(r, ARG(0)) : NULL;
    bool attribute = GIVEN(1) && ARG(1).kind != J_NONE;
    struct jlist parts = {0};
    struct jv item;
    struct jbuild b;
    while (jiter_next(it, &item))
        jlist_push(r, &parts, attribute ? jv_path(r, item, ARG(1), jv_missing()) : item);
    jbuild_init(&b, r);
    for (size_t i = 0; i < parts.n; i++) {
        if (i && between)
            jbuild_str(&b, between);
        jbuild_value(&b, parts.v[i]);
    }
    return jbuild_done(&b);
}

/* ---- lazy filters ---- */

static struct jiter *lazy(struct jrender *r, struct jv v, enum jiter_kind kind)
{
    struct jiter *it = jr_get(r, sizeof *it);
    *it = (struct jiter){.source = v, .r = r, .kind = kind, .type = "generator", .attribute = jv_missing(), .fallback = jv_missing()};
    return it;
}

static struct jargs without_first(const struct jargs *args, size_t n)
{
    struct jargs rest = *args;
    rest.v += n, rest.n -= n;
    return rest;
}

static struct jv filter_map(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jiter *it = lazy(r, v, JI_MAP);
    if (args->n) {
        const struct jstr *name = jv_need_str(r, ARG(0), "map's filter");
        it->fn = jfilter_find(name->s, name->len);
        if (!it->fn)
            jr_fail(r, "there is no filter named '%s'", jv_cstr(r, ARG(0)));
        it->args = without_first(args, 1);
        return jv_lazy(it);
    }
    for (size_t k = 0; k < args->n_kw; k++) {
        struct jstr name = {.s = args->kw_name[k].s, .len = args->kw_name[k].len};
        if (jstr_is(&name, "attribute"))
            it->attribute = args->kw[k];
        else if (jstr_is(&name, "default"))
            it->fallback = args->kw[k];
        else
            jr_fail(r, "map got an unexpected argument '%.*s'", (int)name.len, name.s);
    }
    if (it->attribute.kind == J_MISSING)
        jr_fail(r, "map needs the name of a filter or an attribute");
    return jv_lazy(it);
}

static struct jv selection(struct jrender *r, struct jv v, const struct jargs *args, bool by_attribute, bool negate)
{
    struct jiter *it = lazy(r, v, JI_SELECT);
    size_t used = by_attribute;
    it->negate = negate;
    if (args->n < used)
        jr_fail(r, "the name of an attribute is missing");
    if (by_attribute)
        it->attribute = ARG(0);
    if (args->n > used) {
        const struct jstr *name = jv_need_str(r, ARG(used), "the name of a test");
        it->fn = jtest_find(name->s, name->len);
        if (!it->fn)
            jr_fail(r, "there is no test named '%s'", jv_cstr(r, ARG(used)));
        it->args = without_first(args, used + 1);
    }
    return jv_lazy(it);
}

static struct jv filter_select(struct jrender *r, struct jv v, const struct jargs *args)
{
    return selection(r, v, args, false, false);
}

static struct jv filter_reject(struct jrender *r, struct jv v, const struct jargs *args)
{
    return selection(r, v, args, false, true);
}

static struct jv filter_selectattr(struct jrender *r, struct jv v, const struct jargs *args)
{
    return selection(r, v, args, true, false);
}

static struct jv filter_rejectattr(struct jrender *r, struct jv v, const struct jargs *args)
{
    return selection(r, v, args, true, true);
}

static struct jv filter_unique(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jiter *it = lazy(r, v, JI_UNIQUE);
    it->case_sensitive = flag(r, args, 0);
    it->attribute = ARG(1);
    return jv_lazy(it);
}

static struct jv columns(struct jrender *r, struct jv v, const struct jargs *args, enum jiter_kind kind)
{
    struct jiter *it = lazy(r, v, kind);
    it->count = jv_need_int(r, ARG(0), "the number of items or columns");
    if (it->count < 1 || it->count > JINJA_MAX_RANGE)
        jr_fail(r, "the number of items or columns must be from 1 to %d", JINJA_MAX_RANGE);
    it->fallback = GIVEN(1) && ARG(1).kind == J_NONE ? jv_missing() : ARG(1);
    return jv_lazy(it);
}

static struct jv filter_batch(struct jrender *r, struct jv v, const struct jargs *args)
{
    return columns(r, v, args, JI_BATCH);
}

static struct jv filter_slice(struct jrender *r, struct jv v, const struct jargs *args)
{
    return columns(r, v, args, JI_SLICE);
}

/* ---- order ---- */

struct keyed { struct jv key, value; };

/* Stable merge sort; descending keeps equal items in their order too. */
static void sort_keyed(struct jrender *r, struct keyed *v, struct keyed *scratch, size_t n, bool descending)
{
    if (n < 2)
        return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    sort_keyed(r, v, scratch, half, descending);
    sort_keyed(r, v + half, scratch, n - half, descending);
    while (i < half && j < n) {
        bool swap = descending ? jv_order(r, v[i].key, v[j].key, "<") < 0 : jv_order(r, v[j].key, v[i].key, "<") < 0;
        scratch[k++] = swap ? v[j++] : v[i++];
    }
    while (i < half)
        scratch[k++] = v[i++];
    memcpy(v, scratch, k * sizeof *v);
}

static struct jv sort_list(struct jrender *r, struct jv l, struct keyed *v, bool descending)
{
    struct keyed *scratch = jr_get(r, (l.l->n + 1) * sizeof *scratch);
    sort_keyed(r, v, scratch, l.l->n, descending);
    for (size_t i = 0; i < l.l->n; i++)
        l.l->v[i] = v[i].value;
    return l;
}

/* sort(attribute="a,b"): a list of keys */
static struct jv many_keys(struct jrender *r, struct jv v, struct jv attribute, bool case_sensitive)
{
    if (attribute.kind != J_STR || !memchr(attribute.s->s, ',', attribute.s->len))
        return jv_sort_key(r, v, attribute, case_sensitive);
    struct jv keys = jv_list(r, J_LIST, 2);
    const struct jstr *s = attribute.s;
    for (size_t from = 0, to; from <= s->len; from = to + 1) {
        for (to = from; to < s->len && s->s[to] != ','; to++)
            ;
        jlist_push(r, keys.l, jv_sort_key(r, v, jv_sub(r, s, from, to), case_sensitive));
    }
    return keys;
}

static struct jv filter_sort(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jv l = jv_to_list(r, v);
    struct keyed *keyed = jr_get(r, (l.l->n + 1) * sizeof *keyed);
    for (size_t i = 0; i < l.l->n; i++)
        keyed[i] = (struct keyed){many_keys(r, l.l->v[i], ARG(2), flag(r, args, 1)), l.l->v[i]};
    return sort_list(r, l, keyed, flag(r, args, 0));
}

static struct jv filter_dictsort(struct jrender *r, struct jv v, const struct jargs *args)
{
    bool by_value = false;
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (v.kind != J_DICT)
        jr_fail(r, "dictsort needs a mapping, not %s", jv_type(v));
    if (GIVEN(1)) {
        const struct jstr *by = jv_need_str(r, ARG(1), "dictsort's by");
        by_value = jstr_is(by, "value");
        if (!by_value && !jstr_is(by, "key"))
            jr_fail(r, "dictsort sorts by \"key\" or \"value\" only");
    }
    struct jv l = jv_list(r, J_LIST, v.d->n);
    struct keyed *keyed = jr_get(r, (v.d->n + 1) * sizeof *keyed);
    for (size_t i = 0; i < v.d->n; i++) {
        jlist_push(r, l.l, jv_pair(r, v.d->v[i].key, v.d->v[i].value));
        keyed[i] = (struct keyed){jv_sort_key(r, by_value ? v.d->v[i].value : v.d->v[i].key, jv_missing(), flag(r, args, 0)), l.l->v[i]};
    }
    return sort_list(r, l, keyed, flag(r, args, 2));
}

static struct jv extreme(struct jrender *r, struct jv v, const struct jargs *args, bool largest)
{
    struct jiter *it = jiter_new(r, v);
    struct jv item, best, best_key;
    if (!jiter_next(it, &best))
        return jv_undef_text(r, "no aggregated item, the sequence is empty");
    best_key = jv_sort_key(r, best, ARG(1), flag(r, args, 0));
    while (jiter_next(it, &item)) {
        struct jv key = jv_sort_key(r, item, ARG(1), flag(r, args, 0));
        if (jop_compare(r, largest ? OP_GT : OP_LT, key, best_key))
            best = item, best_key = key;
    }
    return best;
}

static struct jv filter_min(struct jrender *r, struct jv v, const struct jargs *args)
{
    return extreme(r, v, args, false);
}

static struct jv filter_max(struct jrender *r, struct jv v, const struct jargs *args)
{
    return extreme(r, v, args, true);
}

static struct jv filter_sum(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jiter *it = jiter_new(r, v);
    struct jv item, total = GIVEN(1) ? ARG(1) : jv_int(0);
    if (total.kind == J_STR)
        jr_fail(r, "sum cannot add strings");
    while (jiter_next(it, &item)) {
        if (GIVEN(0) && ARG(0).kind != J_NONE)
            item = jv_path(r, item, ARG(0), jv_missing());
        total = jop_binary(r, OP_ADD, total, item);
    }
    return total;
}

/* groupby(attribute, default, case_sensitive): (key, items) tuples of neighbours after sorting */
static struct jv filter_groupby(struct jrender *r, struct jv v, const struct jargs *args)
{
    bool case_sensitive = flag(r, args, 2);
    struct jv l = jv_to_list(r, v), out = jv_list(r, J_LIST, 0);
    struct keyed *keyed = jr_get(r, (l.l->n + 1) * sizeof *keyed);
    for (size_t i = 0; i < l.l->n; i++) {
        struct jv key = jv_path(r, l.l->v[i], ARG(0), ARG(1));
        keyed[i] = (struct keyed){!case_sensitive && key.kind == J_STR ? jstr_case(r, key.s, 'l') : key, l.l->v[i]};
    }
    sort_list(r, l, keyed, false);
    for (size_t i = 0; i < l.l->n;) {
        struct jv group = jv_list(r, J_LIST, 0);
        size_t first = i;
        while (i < l.l->n && jv_equal(r, keyed[i].key, keyed[first].key))
            jlist_push(r, group.l, l.l->v[i++]);
        struct jv name = jv_path(r, l.l->v[first], ARG(0), ARG(1)); /* in its own case */
        struct jv pair = jv_pair(r, name, group);
        pair.l->group = true;
        jlist_push(r, out.l, pair);
    }
    return out;
}

const struct jbuiltin jfilters_seq[] = {
    {"list", filter_list, ""},
    {"first", filter_first, ""},
    {"last", filter_last, ""},
    {"reverse", filter_reverse, ""},
    {"join", filter_join, "d attribute"},
    {"map", filter_map, NULL},
    {"select", filter_select, NULL},
    {"reject", filter_reject, NULL},
    {"selectattr", filter_selectattr, NULL},
    {"rejectattr", filter_rejectattr, NULL},
    {"unique", filter_unique, "case_sensitive attribute"},
    {"batch", filter_batch, "!linecount fill_with"},
    {"slice", filter_slice, "!slices fill_with"},
    {"sort", filter_sort, "reverse case_sensitive attribute"},
    {"dictsort", filter_dictsort, "case_sensitive by reverse"},
    {"min", filter_min, "case_sensitive attribute"},
    {"max", filter_max, "case_sensitive attribute"},
    {"sum", filter_sum, "attribute start"},
    {"groupby", filter_groupby, "!attribute default case_sensitive"},
    {NULL, NULL, NULL},
};
