/* What follows a primary expression: attributes, subscripts, calls, filters, tests. */
#include "text/jinja_internal.h"

static struct jnode *over(struct jparser *p, enum jnode_type type, int line, struct jnode *a)
{
    struct jnode *n = jparse_node(p, type, line);
    n->a = a;
    return n;
}

/* n: list = positional, more = keyword values with names[], b = *args, c = **kwargs */
static void parse_arguments(struct jparser *p, struct jnode *n)
{
    size_t cap = 0;
    bool first = true;
    while (!jparse_skip_op(p, ')')) {
        if (!first) {
            jparse_expect_op(p, ',');
            if (jparse_skip_op(p, ')'))
                return;
        }
        first = false;
        if (!n->b && !n->c && jparse_skip_op(p, '*')) {
            n->b = jparse_expr(p);
        } else if (!n->c && jparse_skip_op(p, JOP2('*', '*'))) {
            n->c = jparse_expr(p);
        } else if (jparse_peek(p)->type == T_NAME && p->tokens[p->at + 1].type == T_OP && p->tokens[p->at + 1].op == '=' && !n->c) {
            struct jtoken *t = jparse_next(p);
            if (n->more.n == cap) {
                cap = cap ? cap * 2 : 4;
                struct jname **names = jparse_get(p, cap * sizeof *names);
                if (n->more.n)
                    memcpy(names, n->names, n->more.n * sizeof *names);
                n->names = names;
            }
            n->names[n->more.n] = jparse_name(p, t->s, t->len);
            for (size_t i = 0; i < n->more.n; i++)
                if (n->names[i] == n->names[n->more.n])
                    jinja_fail(&p->fail, "the argument '%s' is given twice", n->names[i]->s);
            jparse_next(p);
            jparse_push(p, &n->more, jparse_expr(p));
        } else if (n->b || n->c || n->more.n) {
            jinja_fail(&p->fail, "a positional argument follows a named one");
        } else {
            jparse_push(p, &n->list, jparse_expr(p));
        }
    }
}

/* N_SLICE: a, b, c = start, stop, step or NULL */
static struct jnode *parse_subscript(struct jparser *p)
{
    int line = jparse_peek(p)->line;
    struct jnode *part[3] = {NULL, NULL, NULL};
    int colons = 0;
    for (;;) {
        if (jparse_skip_op(p, ':')) {
            if (++colons == 3)
                jparse_unexpected(p, "']'");
        } else if (jparse_is_op(p, ']') || jparse_is_op(p, ',')) {
            break;
        } else if (part[colons]) {
            jparse_unexpected(p, "']'");
        } else {
            part[colons] = jparse_expr(p);
        }
    }
    if (!colons) {
        if (!part[0])
            jparse_unexpected(p, "an expression");
        return part[0];
    }
    struct jnode *n = jparse_node(p, N_SLICE, line);
    n->a = part[0], n->b = part[1], n->c = part[2];
    return n;
}

static struct jnode *parse_item(struct jparser *p, struct jnode *n, int line)
{
    struct jnode *item = over(p, N_ITEM, line, n), *first = parse_subscript(p);
    if (!jparse_is_op(p, ',')) {
        jparse_expect_op(p, ']');
        item->b = first;
        return item;
    }
    item->b = jparse_node(p, N_TUPLE, line); /* a[1, 2] */
    jparse_push(p, &item->b->list, first);
    while (jparse_skip_op(p, ',') && !jparse_is_op(p, ']'))
        jparse_push(p, &item->b->list, parse_subscript(p));
    jparse_expect_op(p, ']');
    for (size_t i = 0; i < item->b->list.n; i++)
        if (item->b->list.v[i]->type == N_SLICE)
            jinja_fail(&p->fail, "slices in several dimensions are not supported");
    return item;
}

static struct jnode *parse_attribute(struct jparser *p, struct jnode *n, int line)
{
    struct jtoken *t = jparse_next(p);
    if (t->type == T_NAME) {
        n = over(p, N_ATTR, line, n);
        n->name = jparse_name(p, t->s, t->len);
        return n;
    }
    if (t->type != T_INT)
        jinja_fail(&p->fail, "expected a name or a number after '.'");
    n = over(p, N_ITEM, line, n);
    n->b = jparse_node(p, N_CONST, line);
    n->b->value = (struct jv){.kind = J_INT, .i = t->i};
    return n;
}

static struct jnode *parse_call(struct jparser *p, struct jnode *n, int line)
{
    n = over(p, N_CALL, line, n);
    parse_arguments(p, n);
    return n;
}

struct jnode *jparse_postfix(struct jparser *p, struct jnode *n)
{
    for (int count = 0;; count++) {
        int line = jparse_peek(p)->line;
        if (count == JINJA_MAX_NESTING)
            jinja_fail(&p->fail, "an expression is too long");
        if (jparse_skip_op(p, '.'))
            n = parse_attribute(p, n, line);
        else if (jparse_skip_op(p, '['))
            n = parse_item(p, n, line);
        else if (jparse_skip_op(p, '('))
            n = parse_call(p, n, line);
        else
            return n;
    }
}

/* A dotted name. */
static struct jname *parse_dotted(struct jparser *p, const char *what)
{
    struct jtoken *t = jparse_next(p);
    if (t->type != T_NAME)
        jinja_fail(&p->fail, "expected the name of a %s", what);
    struct jname *name = jparse_name(p, t->s, t->len);
    while (jparse_skip_op(p, '.')) {
        t = jparse_next(p);
        if (t->type != T_NAME)
            jinja_fail(&p->fail, "expected the name of a %s", what);
        char *both = jparse_get(p, name->len + t->len + 2);
        memcpy(both, name->s, name->len);
        both[name->len] = '.';
        memcpy(both + name->len + 1, t->s, t->len);
        name = jparse_name(p, both, name->len + 1 + t->len);
    }
    return name;
}

/* Unknown filters and tests are errors when the template is read; inside a condition only when they are reached. */
static void check_known(struct jparser *p, const struct jnode *n)
{
    if (!n->fn && !p->conditions && !p->unknown)
        p->unknown = n;
}

static struct jnode *parse_filter(struct jparser *p, struct jnode *n, int line)
{
    n = over(p, N_FILTER, line, n);
    n->name = parse_dotted(p, "filter");
    n->fn = jfilter_find(n->name->s, n->name->len);
    check_known(p, n);
    if (jparse_skip_op(p, '('))
        parse_arguments(p, n);
    return n;
}

static bool test_takes_argument(struct jparser *p)
{
    struct jtoken *t = jparse_peek(p);
    if (t->type == T_NAME)
        return !jparse_is_name(p, "else") && !jparse_is_name(p, "or") && !jparse_is_name(p, "and");
    return t->type == T_STRING || t->type == T_INT || t->type == T_FLOAT || jparse_is_op(p, '(') || jparse_is_op(p, '[') || jparse_is_op(p, '{');
}

static struct jnode *parse_test(struct jparser *p, struct jnode *n, int line)
{
    bool negated = jparse_skip_name(p, "not");
    n = over(p, N_TEST, line, n);
    n->name = parse_dotted(p, "test");
    n->fn = jtest_find(n->name->s, n->name->len);
    check_known(p, n);
    if (jparse_skip_op(p, '('))
        parse_arguments(p, n);
    else if (test_takes_argument(p)) {
        if (jparse_is_name(p, "is"))
            jinja_fail(&p->fail, "tests cannot be chained with 'is'");
        jparse_push(p, &n->list, jparse_postfix(p, jparse_primary(p)));
    }
    return negated ? over(p, N_NOT, line, n) : n;
}

struct jnode *jparse_filters(struct jparser *p, struct jnode *n, bool first_without_pipe)
{
    if (first_without_pipe)
        n = parse_filter(p, n, jparse_peek(p)->line);
    for (int count = 0;; count++) {
        int line = jparse_peek(p)->line;
        if (count == JINJA_MAX_NESTING)
            jinja_fail(&p->fail, "an expression is too long");
        if (jparse_skip_op(p, '|'))
            n = parse_filter(p, n, line);
        else if (jparse_skip_name(p, "is"))
            n = parse_test(p, n, line);
        else if (jparse_skip_op(p, '('))
            n = parse_call(p, n, line);
        else
            return n;
    }
}
