/* Expressions to values. */
#include "text/jinja_internal.h"

struct jscope *jscope_new(struct jrender *r, struct jscope *parent)
{
    struct jscope *s = jr_get(r, sizeof *s);
    *s = (struct jscope){.parent = parent};
    return s;
}

static struct jbinding *find_own(struct jscope *s, const struct jname *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].name == name)
            return &s->v[i];
    return NULL;
}

void jscope_set(struct jrender *r, struct jscope *s, const struct jname *name, struct jv v)
{
    struct jbinding *b = find_own(s, name);
    if (b) {
        b->value = v;
        return;
    }
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4;
        struct jbinding *grown = jr_get(r, s->cap * sizeof *grown);
        if (s->n)
            memcpy(grown, s->v, s->n * sizeof *grown);
        s->v = grown;
    }
    s->v[s->n++] = (struct jbinding){name, v};
}

static struct jv look_up(struct jrender *r, struct jscope *s, const struct jname *name)
{
    for (; s; s = s->parent) {
        struct jbinding *b = find_own(s, name);
        if (b)
            return b->value;
    }
    struct jv *v = jdict_get_text(r, r->variables, name->s, name->len);
    if (v)
        return *v;
    struct jv global = jglobal(name->s, name->len);
    return global.kind == J_MISSING ? jv_undef(r, NULL, name->s, name->len) : global;
}

static struct jv eval_list(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jv l = jv_list(r, n->type == N_LIST ? J_LIST : J_TUPLE, n->list.n);
    for (size_t i = 0; i < n->list.n; i++)
        jlist_push(r, l.l, jeval(r, s, n->list.v[i]));
    return l;
}

static struct jv eval_dict(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jv d = jv_dict(r);
    for (size_t i = 0; i < n->list.n; i += 2) {
        struct jv key = jeval(r, s, n->list.v[i]);
        jdict_set(r, d.d, key, jeval(r, s, n->list.v[i + 1]));
    }
    return d;
}

static struct jv eval_concat(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jv *parts = jr_get(r, n->list.n * sizeof *parts);
    struct jbuild b;
    for (size_t i = 0; i < n->list.n; i++)
        parts[i] = jeval(r, s, n->list.v[i]);
    jbuild_init(&b, r);
    for (size_t i = 0; i < n->list.n; i++)
        jbuild_value(&b, parts[i]);
    return jbuild_done(&b);
}

static struct jv eval_compare(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jv left = jeval(r, s, n->a);
    for (size_t i = 0; i < n->list.n; i++) {
        struct jv right = jeval(r, s, n->list.v[i]->a);
        if (!jop_compare(r, n->list.v[i]->op, left, right))
            return jv_bool(false);
        left = right;
    }
    return jv_bool(true);
}

static struct jv eval_item(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jv v = jeval(r, s, n->a), part[3];
    if (n->b->type != N_SLICE)
        return jv_item(r, v, jeval(r, s, n->b));
    const struct jnode *given[3] = {n->b->a, n->b->b, n->b->c};
    for (int i = 0; i < 3; i++)
        part[i] = given[i] ? jeval(r, s, given[i]) : jv_missing();
    return jv_slice(r, v, part[0], part[1], part[2]);
}

void jcall_args(struct jrender *r, struct jscope *s, const struct jnode *n, struct jargs *args)
{
    struct jlist pos = {0};
    *args = (struct jargs){0};
    for (size_t i = 0; i < n->list.n; i++)
        jlist_push(r, &pos, jeval(r, s, n->list.v[i]));
    size_t named = n->more.n;
    struct jv more = jv_missing();
    if (n->type == N_CALL || n->type == N_FILTER || n->type == N_TEST) {
        if (n->b) {
            struct jv star = jv_to_list(r, jeval(r, s, n->b));
            for (size_t i = 0; i < star.l->n; i++)
                jlist_push(r, &pos, star.l->v[i]);
        }
        more = n->c ? jeval(r, s, n->c) : more;
        if (n->c && more.kind != J_DICT)
            jr_fail(r, "what follows ** must be a dict, not %s", jv_type(more));
        named += n->c ? more.d->n : 0;
    }
    args->v = pos.v, args->n = pos.n;
    if (!named)
        return;
    args->kw = jr_get(r, named * sizeof *args->kw);
    args->kw_name = jr_get(r, named * sizeof *args->kw_name);
    for (; args->n_kw < n->more.n; args->n_kw++) {
        args->kw_name[args->n_kw] = *n->names[args->n_kw];
        args->kw[args->n_kw] = jeval(r, s, n->more.v[args->n_kw]);
    }
    for (size_t i = 0; args->n_kw < named; i++, args->n_kw++) {
        struct jstr *name = jv_need_str(r, more.d->v[i].key, "the name of an argument");
        args->kw_name[args->n_kw] = (struct jname){name->s, name->len};
        args->kw[args->n_kw] = more.d->v[i].value;
    }
}

static struct jv eval_call(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jargs args;
    struct jv f = jeval(r, s, n->a);
    jcall_args(r, s, n, &args);
    r->fail.line = n->line;
    return jcall(r, f, &args);
}

static struct jv eval_filter(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jargs args;
    struct jv v = jeval(r, s, n->a);
    if (!n->fn)
        jr_fail(r, "there is no %s named '%s'", n->type == N_FILTER ? "filter" : "test", n->name->s);
    jcall_args(r, s, n, &args);
    r->fail.line = n->line;
    return jcall_builtin(r, n->fn, v, &args);
}

static struct jv eval_condition(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    if (jv_true(r, jeval(r, s, n->a)))
        return jeval(r, s, n->b);
    return n->c ? jeval(r, s, n->c) : jv_undef_text(r, "an inline if without else is false, so it has no value");
}

static struct jv eval(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jv a;
    switch (n->type) {
    case N_CONST:
        return n->value;
    case N_NAME:
        return look_up(r, s, n->name);
    case N_LIST:
    case N_TUPLE:
        return eval_list(r, s, n);
    case N_DICT:
        return eval_dict(r, s, n);
    case N_CONDITION:
        return eval_condition(r, s, n);
    case N_OR:
        a = jeval(r, s, n->a);
        return jv_true(r, a) ? a : jeval(r, s, n->b);
    case N_AND:
        a = jeval(r, s, n->a);
        return jv_true(r, a) ? jeval(r, s, n->b) : a;
    case N_NOT:
        return jv_bool(!jv_true(r, jeval(r, s, n->a)));
    case N_NEG:
    case N_POS:
        return jop_negate(r, jeval(r, s, n->a), n->type == N_NEG);
    case N_BINARY:
        a = jeval(r, s, n->a);
        return jop_binary(r, n->op, a, jeval(r, s, n->b));
    case N_CONCAT:
        return eval_concat(r, s, n);
    case N_COMPARE:
        return eval_compare(r, s, n);
    case N_ATTR:
        return jv_attr(r, jeval(r, s, n->a), n->name->s, n->name->len);
    case N_ITEM:
        return eval_item(r, s, n);
    case N_CALL:
        return eval_call(r, s, n);
    case N_FILTER:
    case N_TEST:
        return eval_filter(r, s, n);
    default:
        jr_fail(r, "this cannot be evaluated");
    }
}

struct jv jeval(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    jr_enter(r);
    jr_step(r, 1);
    r->fail.line = n->line;
    struct jv v = eval(r, s, n);
    jr_leave(r);
    return v;
}
