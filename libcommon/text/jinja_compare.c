/* Truth, equality, order, membership, length: as Python has them. */
#include <math.h>

#include "text/jinja_internal.h"

const char *jv_type(struct jv v)
{
    static const char *const names[] = {"nothing", "Undefined", "NoneType", "bool", "int", "float", "str", "list", "tuple", "dict", "range", "dict view",
                                        "generator", "Namespace", "Macro", "function", "method", "LoopContext", "Cycler", "Joiner"};
    if (v.kind == J_VIEW)
        return v.view->part == 'k' ? "dict_keys" : v.view->part == 'v' ? "dict_values" : "dict_items";
    if (v.kind == J_ITER)
        return v.it->type;
    if (v.kind == J_STR && v.s->markup)
        return "Markup";
    return names[v.kind];
}

bool jv_true(struct jrender *r, struct jv v)
{
    (void)r;
    switch (v.kind) {
    case J_MISSING:
    case J_UNDEF:
    case J_NONE:
        return false;
    case J_BOOL:
        return v.b;
    case J_INT:
        return v.i != 0;
    case J_FLOAT:
        return v.f != 0;
    case J_STR:
        return v.s->len != 0;
    case J_LIST:
    case J_TUPLE:
        return v.l->n != 0;
    case J_DICT:
        return v.d->n != 0;
    case J_RANGE:
        return v.range->n != 0;
    case J_VIEW:
        return v.view->d->n != 0;
    default:
        return true;
    }
}

/* -1, 0, 1; 2 with a NaN. Exact also where an integer does not fit a double. */
static int number_order(struct jv a, struct jv b)
{
    if (jv_is_int(a) && jv_is_int(b)) {
        int64_t x = jv_as_int(a), y = jv_as_int(b);
        return x < y ? -1 : x > y;
    }
    double x = jv_as_float(a), y = jv_as_float(b);
    if (isnan(x) || isnan(y))
        return 2;
    long double lx = jv_is_int(a) ? (long double)jv_as_int(a) : x, ly = jv_is_int(b) ? (long double)jv_as_int(b) : y;
    return lx < ly ? -1 : lx > ly;
}

static bool range_equal(const struct jrange *a, const struct jrange *b)
{
    return a->n == b->n && (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

static bool list_equal(struct jrender *r, const struct jlist *a, const struct jlist *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!jv_equal(r, a->v[i], b->v[i]))
            return false;
    return true;
}

static bool dict_equal(struct jrender *r, const struct jdict *a, const struct jdict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        struct jv *other = jdict_get(r, b, a->v[i].key);
        if (!other || !jv_equal(r, a->v[i].value, *other))
            return false;
    }
    return true;
}

bool jv_equal(struct jrender *r, struct jv a, struct jv b)
{
    jr_step(r, 1);
    if (jv_is_number(a) && jv_is_number(b))
        return number_order(a, b) == 0;
    if (a.kind != b.kind)
        return false;
    bool same;
    switch (a.kind) {
    case J_UNDEF:
    case J_NONE:
    case J_MISSING:
        return true;
    case J_STR:
        jr_step(r, a.s->len / 64);
        return a.s->len == b.s->len && !memcmp(a.s->s, b.s->s, a.s->len);
    case J_LIST:
    case J_TUPLE:
        jr_enter(r);
        same = a.l == b.l || list_equal(r, a.l, b.l);
        jr_leave(r);
        return same;
    case J_DICT:
        jr_enter(r);
        same = a.d == b.d || dict_equal(r, a.d, b.d);
        jr_leave(r);
        return same;
    case J_RANGE:
        return range_equal(a.range, b.range);
    case J_METHOD:
        return a.method->fn == b.method->fn && a.method->self.l == b.method->self.l;
    default:
        return a.l == b.l;
    }
}

static int str_order(const struct jstr *a, const struct jstr *b)
{
    int c = memcmp(a->s ? a->s : "", b->s ? b->s : "", a->len < b->len ? a->len : b->len); /* UTF-8 sorts as code points do */
    return c ? c : a->len < b->len ? -1 : a->len > b->len;
}

int jv_order(struct jrender *r, struct jv a, struct jv b, const char *op)
{
    jr_step(r, 1);
    if (a.kind == J_UNDEF || b.kind == J_UNDEF)
        jv_fail_undef(r, a.kind == J_UNDEF ? a : b);
    if (jv_is_number(a) && jv_is_number(b))
        return number_order(a, b);
    if (a.kind == J_STR && b.kind == J_STR)
        return str_order(a.s, b.s);
    if (jv_is_seq(a) && a.kind == b.kind) {
        for (size_t i = 0; i < a.l->n && i < b.l->n; i++)
            if (!jv_equal(r, a.l->v[i], b.l->v[i])) {
                jr_enter(r);
                int c = jv_order(r, a.l->v[i], b.l->v[i], op);
                jr_leave(r);
                return c;
            }
        return a.l->n < b.l->n ? -1 : a.l->n > b.l->n;
    }
    jr_fail(r, "'%s' not supported between instances of '%s' and '%s'", op, jv_type(a), jv_type(b));
}

static bool iter_contains(struct jrender *r, struct jv container, struct jv item)
{
    struct jiter *it = jiter_new(r, container);
    struct jv v;
    while (jiter_next(it, &v))
        if (jv_equal(r, v, item))
            return true;
    return false;
}

bool jv_contains(struct jrender *r, struct jv container, struct jv item)
{
    struct jiter *it;
    switch (container.kind) {
    case J_STR:
        if (item.kind != J_STR)
            jr_fail(r, "'in <string>' requires string as left operand, not %s", jv_type(item));
        jr_step(r, container.s->len / 64);
        return jstr_find(container.s, item.s, 0, container.s->len, false) != SIZE_MAX;
    case J_DICT:
        return jdict_get(r, container.d, item) != NULL;
    case J_VIEW:
        if (container.view->part == 'k')
            return jdict_get(r, container.view->d, item) != NULL;
        return iter_contains(r, container, item);
    default:
        if (!jiter_try(r, container, &it))
            jr_fail(r, "argument of type '%s' is not iterable", jv_type(container));
        return iter_contains(r, container, item);
    }
}

bool jv_length(struct jrender *r, struct jv v, int64_t *n)
{
    switch (v.kind) {
    case J_UNDEF:
        *n = 0;
        return true;
    case J_STR:
        *n = (int64_t)jstr_chars(r, v.s);
        return true;
    case J_LIST:
    case J_TUPLE:
        *n = (int64_t)v.l->n;
        return true;
    case J_DICT:
        *n = (int64_t)v.d->n;
        return true;
    case J_VIEW:
        *n = (int64_t)v.view->d->n;
        return true;
    case J_RANGE:
        *n = v.range->n;
        return true;
    default:
        return false;
    }
}
