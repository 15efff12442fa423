/* Iteration over every value, and the lazy filters: they pull from their source only when asked, and only once. */
#include "text/jinja_internal.h"

bool jiter_try(struct jrender *r, struct jv v, struct jiter **it)
{
    switch (v.kind) {
    case J_ITER:
        *it = v.it; /* a generator is its own iterator */
        return true;
    case J_UNDEF:
    case J_STR:
    case J_LIST:
    case J_TUPLE:
    case J_DICT:
    case J_RANGE:
    case J_VIEW:
        *it = jr_get(r, sizeof **it);
        **it = (struct jiter){.source = v, .r = r, .kind = JI_PLAIN, .type = "iterator"};
        return true;
    default:
        return false;
    }
}

struct jiter *jiter_new(struct jrender *r, struct jv v)
{
    struct jiter *it;
    if (!jiter_try(r, v, &it))
        jr_fail(r, "'%s' object is not iterable", jv_type(v));
    return it;
}

struct jv jv_lazy(struct jiter *it)
{
    return (struct jv){.kind = J_ITER, .it = it};
}

static struct jv view_item(struct jrender *r, const struct jview *view, size_t i)
{
    const struct jpair *p = &view->d->v[i];
    return view->part == 'k' ? p->key : view->part == 'v' ? p->value : jv_pair(r, p->key, p->value);
}

static bool plain_next(struct jiter *it, struct jv *v)
{
    struct jv s = it->source;
    switch (s.kind) {
    case J_STR:
        if (it->at >= s.s->len)
            return false;
        size_t from = it->at;
        utf8_next(s.s->s, s.s->len, &it->at);
        *v = jv_sub(it->r, s.s, from, it->at);
        return true;
    case J_LIST:
    case J_TUPLE:
        if (it->at >= s.l->n)
            return false;
        *v = s.l->v[it->at++];
        return true;
    case J_DICT:
        if (it->at >= s.d->n)
            return false;
        *v = s.d->v[it->at++].key;
        return true;
    case J_RANGE:
        if ((int64_t)it->at >= s.range->n)
            return false;
        *v = jv_int(s.range->start + (int64_t)it->at++ * s.range->step);
        return true;
    case J_VIEW:
        if (it->at >= s.view->d->n)
            return false;
        *v = view_item(it->r, s.view, it->at++);
        return true;
    default:
        return false;
    }
}

/* source: a list, tuple, range, dict or view */
static bool reversed_next(struct jiter *it, struct jv *v)
{
    struct jv s = it->source;
    int64_t n = 0;
    jv_length(it->r, s, &n);
    if ((int64_t)it->at >= n)
        return false;
    size_t i = (size_t)n - 1 - it->at++;
    if (jv_is_seq(s))
        *v = s.l->v[i];
    else if (s.kind == J_RANGE)
        *v = jv_int(s.range->start + (int64_t)i * s.range->step);
    else
        *v = s.kind == J_DICT ? s.d->v[i].key : view_item(it->r, s.view, i);
    return true;
}

static bool select_next(struct jiter *it, struct jv *v)
{
    while (jiter_next(it->inner, v)) {
        struct jv x = it->attribute.kind == J_MISSING ? *v : jv_path(it->r, *v, it->attribute, jv_missing());
        bool yes = it->fn ? jv_true(it->r, jcall_builtin(it->r, it->fn, x, &it->args)) : jv_true(it->r, x);
        if (yes != it->negate)
            return true;
    }
    return false;
}

/* What sort, unique, min and max compare: the attribute, lower-cased. */
struct jv jv_sort_key(struct jrender *r, struct jv v, struct jv attribute, bool case_sensitive)
{
    if (attribute.kind != J_MISSING && attribute.kind != J_NONE)
        v = jv_path(r, v, attribute, jv_missing());
    return !case_sensitive && v.kind == J_STR ? jstr_case(r, v.s, 'l') : v;
}

static bool unique_next(struct jiter *it, struct jv *v)
{
    if (!it->seen)
        it->seen = jv_dict(it->r).d;
    while (jiter_next(it->inner, v)) {
        struct jv key = jv_sort_key(it->r, *v, it->attribute, it->case_sensitive);
        if (!jdict_get(it->r, it->seen, key)) {
            jdict_set(it->r, it->seen, key, jv_none());
            return true;
        }
    }
    return false;
}

/* count items at a time; the last one filled up with `fallback` */
static bool batch_next(struct jiter *it, struct jv *v)
{
    struct jv item, row = jv_list(it->r, J_LIST, 0);
    while ((int64_t)row.l->n < it->count && jiter_next(it->inner, &item))
        jlist_push(it->r, row.l, item);
    if (!row.l->n)
        return false;
    if (it->fallback.kind != J_MISSING)
        while ((int64_t)row.l->n < it->count)
            jlist_push(it->r, row.l, it->fallback);
    *v = row;
    return true;
}

/* `count` columns; the first `extra` ones hold one item more */
static bool slice_next(struct jiter *it, struct jv *v)
{
    if (!it->at) {
        it->source = jv_to_list(it->r, it->source);
        it->extra = (int64_t)it->source.l->n % it->count;
    }
    int64_t column = (int64_t)it->at, n = (int64_t)it->source.l->n, per = n / it->count;
    if (column >= it->count)
        return false;
    it->at++;
    int64_t start = column * per + (column < it->extra ? column : it->extra), end = start + per + (column < it->extra);
    struct jv row = jv_list(it->r, J_LIST, (size_t)(end - start));
    for (int64_t i = start; i < end; i++)
        jlist_push(it->r, row.l, it->source.l->v[i]);
    if (it->fallback.kind != J_MISSING && it->fallback.kind != J_NONE && column >= it->extra)
        jlist_push(it->r, row.l, it->fallback);
    *v = row;
    return true;
}

static bool for_next(struct jiter *it, struct jv *v)
{
    while (jiter_next(it->inner, v)) {
        struct jscope *s = jscope_new(it->r, it->scope);
        jassign(it->r, s, it->node->a, *v);
        if (jv_true(it->r, jeval(it->r, s, it->node->c)))
            return true;
    }
    return false;
}

/* The first item asked for decides: map and select give nothing for what is false, before they look whether it can be iterated. */
static bool start(struct jiter *it)
{
    if (it->inner || it->kind == JI_PLAIN || it->kind == JI_REVERSED || it->kind == JI_SLICE)
        return true;
    if ((it->kind == JI_MAP || it->kind == JI_SELECT) && !jv_true(it->r, it->source))
        return false;
    it->inner = jiter_new(it->r, it->source);
    return true;
}

bool jiter_next(struct jiter *it, struct jv *v)
{
    struct jrender *r = it->r;
    bool more = false;
    jr_step(r, 1);
    if (it->done)
        return false;
    jr_enter(r);
    if (start(it)) {
        switch (it->kind) {
        case JI_PLAIN:
            more = plain_next(it, v);
            break;
        case JI_REVERSED:
            more = reversed_next(it, v);
            break;
        case JI_MAP:
            more = jiter_next(it->inner, v);
            if (more)
                *v = it->fn ? jcall_builtin(r, it->fn, *v, &it->args) : jv_path(r, *v, it->attribute, it->fallback);
            break;
        case JI_SELECT:
            more = select_next(it, v);
            break;
        case JI_UNIQUE:
            more = unique_next(it, v);
            break;
        case JI_BATCH:
            more = batch_next(it, v);
            break;
        case JI_SLICE:
            more = slice_next(it, v);
            break;
        case JI_FOR:
            more = for_next(it, v);
            break;
        }
    }
    jr_leave(r);
    it->done = !more;
    return more;
}

struct jv jv_to_list(struct jrender *r, struct jv v)
{
    struct jiter *it = jiter_new(r, v);
    struct jv l = jv_list(r, J_LIST, jv_is_seq(v) ? v.l->n : 0), item;
    while (jiter_next(it, &item))
        jlist_push(r, l.l, item);
    return l;
}
