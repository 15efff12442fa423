/* Statements: what they put out, and the scopes they open. */
#include "text/jinja_internal.h"

/* ---- assignment ---- */

static void assign_tuple(struct jrender *r, struct jscope *s, const struct jnode *target, struct jv v)
{
    struct jiter *it = jiter_new(r, v);
    struct jv *items = jr_get(r, target->list.n * sizeof *items), extra;
    for (size_t i = 0; i < target->list.n; i++)
        if (!jiter_next(it, &items[i]))
            jr_fail(r, "not enough values to unpack (expected %zu, got %zu)", target->list.n, i);
    if (jiter_next(it, &extra))
        jr_fail(r, "too many values to unpack (expected %zu)", target->list.n);
    for (size_t i = 0; i < target->list.n; i++)
        jassign(r, s, target->list.v[i], items[i]);
}

void jassign(struct jrender *r, struct jscope *s, const struct jnode *target, struct jv v)
{
    if (target->type == N_NAME) {
        jscope_set(r, s, target->name, v);
    } else if (target->type == N_TUPLE) {
        assign_tuple(r, s, target, v);
    } else {
        struct jv ns = jeval(r, s, target->a);
        if (ns.kind != J_NAMESPACE)
            jr_fail(r, "attributes can be set on namespace objects only");
        if (target->name->s[0] == '_')
            jr_fail(r, "attribute '%s' of a namespace cannot be set", target->name->s);
        jdict_set(r, ns.d, jv_str(r, target->name->s, target->name->len, JTAG_TEMPLATE), v);
    }
}

/* ---- output to somewhere else ---- */

/* Runs a body and gives what it put out as a string. */
static struct jv capture(struct jrender *r, struct jscope *s, const struct jnodes *body, enum jflow *flow)
{
    struct jbuild b, *outer = r->out;
    jbuild_init(&b, r);
    b.output = true;
    r->out = &b;
    *flow = jexec_body(r, s, body);
    r->out = outer;
    return jbuild_done(&b);
}

/* Filters of {% filter a|b %} and {% set x | a %}: an expression over a constant that stands for the body. */
static struct jv filter_body(struct jrender *r, struct jscope *s, const struct jnode *filters, const struct jnode *hole, struct jv body)
{
    if (filters == hole)
        return body;
    struct jv in = filter_body(r, s, filters->a, hole, body);
    struct jargs args;
    if (filters->type == N_NOT)
        return jv_bool(!jv_true(r, in));
    jcall_args(r, s, filters, &args);
    r->fail.line = filters->line;
    if (filters->type == N_CALL)
        return jcall(r, in, &args);
    if (!filters->fn)
        jr_fail(r, "there is no filter named '%s'", filters->name->s);
    return jcall_builtin(r, filters->fn, in, &args);
}

static enum jflow exec_set_block(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    enum jflow flow;
    struct jv v = capture(r, jscope_new(r, s), &n->list, &flow);
    if (flow == FLOW_NEXT)
        jassign(r, s, n->a, filter_body(r, s, n->b, n->c, v));
    return flow;
}

static enum jflow exec_filter_block(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    enum jflow flow;
    struct jscope *inner = jscope_new(r, s);
    struct jv v = capture(r, inner, &n->list, &flow);
    if (flow == FLOW_NEXT)
        jbuild_value(r->out, filter_body(r, inner, n->b, n->c, v));
    return flow;
}

static void exec_generation(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    uint32_t before = r->generation;
    r->generation = JTAG_GENERATION;
    jexec_body(r, jscope_new(r, s), &n->list);
    r->generation = before;
}

static void exec_call_block(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jargs args, with;
    struct jv f = jeval(r, s, n->a->a);
    jcall_args(r, s, n->a, &args);
    with = args;
    with.n_kw = args.n_kw + 1;
    with.kw = jr_get(r, with.n_kw * sizeof *with.kw);
    with.kw_name = jr_get(r, with.n_kw * sizeof *with.kw_name);
    for (size_t i = 0; i < args.n_kw; i++)
        with.kw[i] = args.kw[i], with.kw_name[i] = args.kw_name[i];
    with.kw[args.n_kw] = jmacro_new(r, s, n->b);
    with.kw_name[args.n_kw] = (struct jname){"caller", 6};
    r->fail.line = n->line;
    jbuild_value(r->out, jcall(r, f, &with));
}

/* with a = 1, b = 2: values are evaluated outside */
static enum jflow exec_with(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    struct jscope *inner = jscope_new(r, s);
    for (size_t i = 0; i < n->more.n; i += 2)
        jassign(r, inner, n->more.v[i], jeval(r, s, n->more.v[i + 1]));
    return jexec_body(r, inner, &n->list);
}

static enum jflow exec_if(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    while (!jv_true(r, jeval(r, s, n->a))) {
        if (n->more.n != 1 || n->more.v[0]->type != N_IF || !n->more.v[0]->flag)
            return jexec_body(r, s, &n->more);
        n = n->more.v[0];
    }
    return jexec_body(r, s, &n->list);
}

static enum jflow exec(struct jrender *r, struct jscope *s, const struct jnode *n)
{
    switch (n->type) {
    case N_TEXT:
        jbuild_str(r->out, n->value.s);
        return FLOW_NEXT;
    case N_PRINT:
        for (size_t i = 0; i < n->list.n; i++)
            jbuild_value(r->out, jeval(r, s, n->list.v[i]));
        return FLOW_NEXT;
    case N_IF:
        return exec_if(r, s, n);
    case N_FOR:
        jexec_for(r, s, n);
        return FLOW_NEXT;
    case N_SET:
        jassign(r, s, n->a, jeval(r, s, n->b));
        return FLOW_NEXT;
    case N_SET_BLOCK:
        return exec_set_block(r, s, n);
    case N_MACRO:
        jscope_set(r, s, n->name, jmacro_new(r, s, n));
        return FLOW_NEXT;
    case N_CALL_BLOCK:
        exec_call_block(r, s, n);
        return FLOW_NEXT;
    case N_FILTER_BLOCK:
        return exec_filter_block(r, s, n);
    case N_WITH:
        return exec_with(r, s, n);
    case N_SCOPE:
        return jexec_body(r, jscope_new(r, s), &n->list);
    case N_AUTOESCAPE:
        if (jv_true(r, jeval(r, s, n->a)))
            jr_fail(r, "{%% autoescape true %%} is not supported: escape single values with the filter e");
        return jexec_body(r, jscope_new(r, s), &n->list);
    case N_GENERATION:
        exec_generation(r, s, n);
        return FLOW_NEXT;
    case N_BREAK:
        return FLOW_BREAK;
    case N_CONTINUE:
        return FLOW_CONTINUE;
    default:
        jr_fail(r, "this is not a statement");
    }
}

enum jflow jexec_body(struct jrender *r, struct jscope *s, const struct jnodes *body)
{
    enum jflow flow = FLOW_NEXT;
    jr_enter(r);
    for (size_t i = 0; i < body->n && flow == FLOW_NEXT; i++) {
        jr_step(r, 1);
        r->fail.line = body->v[i]->line;
        flow = exec(r, s, body->v[i]);
    }
    jr_leave(r);
    return flow;
}
