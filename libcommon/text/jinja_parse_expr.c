/* Tokens to expressions, loosest binding first. */
#include "text/jinja_internal.h"

static struct jnode *parse_or(struct jparser *p);
static struct jnode *parse_unary(struct jparser *p, bool filters);

static struct jnode *node2(struct jparser *p, enum jnode_type type, int line, struct jnode *a, struct jnode *b)
{
    struct jnode *n = jparse_node(p, type, line);
    n->a = a, n->b = b;
    return n;
}

/* x if a else y: a = condition, b = x, c = y or NULL */
struct jnode *jparse_expr(struct jparser *p)
{
    jparse_enter(p);
    int line = jparse_peek(p)->line;
    const struct jnode *unknown = p->unknown;
    struct jnode *n = parse_or(p);
    if (jparse_is_name(p, "if"))
        p->unknown = unknown; /* only an error when the condition holds */
    while (jparse_skip_name(p, "if")) {
        struct jnode *c = jparse_node(p, N_CONDITION, line);
        p->conditions++;
        c->b = n;
        c->a = parse_or(p);
        if (jparse_skip_name(p, "else"))
            c->c = jparse_expr(p);
        p->conditions--;
        n = c;
    }
    p->depth--;
    return n;
}

static struct jnode *parse_not(struct jparser *p);

static struct jnode *parse_and(struct jparser *p)
{
    int line = jparse_peek(p)->line;
    struct jnode *n = parse_not(p);
    while (jparse_skip_name(p, "and"))
        n = node2(p, N_AND, line, n, parse_not(p));
    return n;
}

static struct jnode *parse_or(struct jparser *p)
{
    int line = jparse_peek(p)->line;
    struct jnode *n = parse_and(p);
    while (jparse_skip_name(p, "or"))
        n = node2(p, N_OR, line, n, parse_and(p));
    return n;
}

/* Left-associative operators of one level over the next tighter level. */
static int take_op(struct jparser *p, const int ops[][2])
{
    for (int i = 0; ops[i][0]; i++)
        if (jparse_skip_op(p, ops[i][0]))
            return ops[i][1];
    return 0;
}

static struct jnode *parse_power(struct jparser *p)
{
    int line = jparse_peek(p)->line;
    struct jnode *n = parse_unary(p, true);
    while (jparse_skip_op(p, JOP2('*', '*'))) {
        n = node2(p, N_BINARY, line, n, parse_unary(p, true));
        n->op = OP_POW;
    }
    return n;
}

static struct jnode *parse_product(struct jparser *p)
{
    static const int ops[][2] = {{'*', OP_MUL}, {'/', OP_DIV}, {JOP2('/', '/'), OP_FLOORDIV}, {'%', OP_MOD}, {0, 0}};
    int line = jparse_peek(p)->line, op;
    struct jnode *n = parse_power(p);
    while ((op = take_op(p, ops))) {
        n = node2(p, N_BINARY, line, n, parse_power(p));
        n->op = op;
    }
    return n;
}

static struct jnode *parse_concat(struct jparser *p)
{
    int line = jparse_peek(p)->line;
    struct jnode *n = parse_product(p);
    if (!jparse_is_op(p, '~'))
        return n;
    struct jnode *c = jparse_node(p, N_CONCAT, line);
    jparse_push(p, &c->list, n);
    while (jparse_skip_op(p, '~'))
        jparse_push(p, &c->list, parse_product(p));
    return c;
}

static struct jnode *parse_sum(struct jparser *p)
{
    static const int ops[][2] = {{'+', OP_ADD}, {'-', OP_SUB}, {0, 0}};
    int line = jparse_peek(p)->line, op;
    struct jnode *n = parse_concat(p);
    while ((op = take_op(p, ops))) {
        n = node2(p, N_BINARY, line, n, parse_concat(p));
        n->op = op;
    }
    return n;
}

static int take_comparison(struct jparser *p)
{
    static const int ops[][2] = {{JOP2('=', '='), OP_EQ}, {JOP2('!', '='), OP_NE}, {'<', OP_LT}, {JOP2('<', '='), OP_LE},
                                 {'>', OP_GT},             {JOP2('>', '='), OP_GE}, {0, 0}};
    int op = take_op(p, ops);
    if (op)
        return op;
    if (jparse_skip_name(p, "in"))
        return OP_IN;
    if (jparse_is_name(p, "not")) {
        p->at++;
        if (jparse_skip_name(p, "in"))
            return OP_NOT_IN;
        p->at--;
    }
    return 0;
}

/* a < b <= c: a = first operand, list = the others, op of each in an N_COMPARE of its own: a = operand */
static struct jnode *parse_comparison(struct jparser *p)
{
    int line = jparse_peek(p)->line, op;
    struct jnode *n = parse_sum(p), *chain = NULL;
    while ((op = take_comparison(p))) {
        if (!chain)
            chain = node2(p, N_COMPARE, line, n, NULL);
        struct jnode *link = node2(p, N_COMPARE, line, parse_sum(p), NULL);
        link->op = op;
        jparse_push(p, &chain->list, link);
    }
    return chain ? chain : n;
}

static struct jnode *parse_not(struct jparser *p)
{
    int line = jparse_peek(p)->line;
    if (!jparse_skip_name(p, "not"))
        return parse_comparison(p);
    jparse_enter(p);
    struct jnode *n = node2(p, N_NOT, line, parse_not(p), NULL);
    p->depth--;
    return n;
}

static struct jnode *parse_unary(struct jparser *p, bool filters)
{
    int line = jparse_peek(p)->line;
    struct jnode *n;
    bool minus = jparse_skip_op(p, '-');
    if (minus || jparse_skip_op(p, '+')) {
        jparse_enter(p);
        n = node2(p, minus ? N_NEG : N_POS, line, parse_unary(p, false), NULL);
        p->depth--;
    } else {
        n = jparse_primary(p);
    }
    n = jparse_postfix(p, n);
    return filters ? jparse_filters(p, n, false) : n;
}

static struct jnode *constant(struct jparser *p, int line, struct jv v)
{
    struct jnode *n = jparse_node(p, N_CONST, line);
    n->value = v;
    return n;
}

static struct jnode *constant_str(struct jparser *p, int line, const char *s, size_t len)
{
    struct jstr *str = jparse_get(p, sizeof *str);
    *str = (struct jstr){.s = s, .len = len, .chars = utf8_count(s, len)};
    return constant(p, line, (struct jv){.kind = J_STR, .s = str});
}

static struct jnode *parse_string(struct jparser *p)
{
    struct jtoken *t = jparse_next(p);
    const char *s = t->s;
    size_t len = t->len;
    while (jparse_peek(p)->type == T_STRING) { /* "a" "b" */
        struct jtoken *u = jparse_next(p);
        char *joined = jparse_get(p, len + u->len + 1);
        memcpy(joined, s, len);
        memcpy(joined + len, u->s, u->len);
        s = joined, len += u->len;
    }
    return constant_str(p, t->line, s, len);
}

static struct jnode *parse_list(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_LIST, line);
    while (!jparse_skip_op(p, ']')) {
        if (n->list.n) {
            jparse_expect_op(p, ',');
            if (jparse_skip_op(p, ']'))
                break;
        }
        jparse_push(p, &n->list, jparse_expr(p));
    }
    return n;
}

static struct jnode *parse_dict(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_DICT, line); /* list = keys and values in turn */
    while (!jparse_skip_op(p, '}')) {
        if (n->list.n) {
            jparse_expect_op(p, ',');
            if (jparse_skip_op(p, '}'))
                break;
        }
        jparse_push(p, &n->list, jparse_expr(p));
        jparse_expect_op(p, ':');
        jparse_push(p, &n->list, jparse_expr(p));
    }
    return n;
}

static struct jnode *parse_word(struct jparser *p)
{
    static const struct { const char *word; enum jkind kind; bool b; } constants[] = {
        {"true", J_BOOL, true}, {"True", J_BOOL, true}, {"false", J_BOOL, false}, {"False", J_BOOL, false}, {"none", J_NONE, 0}, {"None", J_NONE, 0}};
    int line = jparse_peek(p)->line;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (jparse_skip_name(p, constants[i].word))
            return constant(p, line, (struct jv){.kind = constants[i].kind, .b = constants[i].b});
    struct jtoken *t = jparse_next(p);
    if (t->s[0] >= '0' && t->s[0] <= '9')
        jinja_fail(&p->fail, "'%.*s' is not a name", (int)(t->len < 40 ? t->len : 40), t->s);
    struct jnode *n = jparse_node(p, N_NAME, line);
    n->name = jparse_name(p, t->s, t->len);
    return n;
}

struct jnode *jparse_primary(struct jparser *p)
{
    struct jtoken *t = jparse_peek(p);
    struct jnode *n;
    switch (t->type) {
    case T_NAME:
        return parse_word(p);
    case T_STRING:
        return parse_string(p);
    case T_INT:
        jparse_next(p);
        return constant(p, t->line, (struct jv){.kind = J_INT, .i = t->i});
    case T_FLOAT:
        jparse_next(p);
        return constant(p, t->line, (struct jv){.kind = J_FLOAT, .f = t->f});
    default:
        break;
    }
    jparse_enter(p);
    if (jparse_skip_op(p, '(')) {
        if (jparse_skip_op(p, ')'))
            n = jparse_node(p, N_TUPLE, t->line);
        else {
            n = jparse_tuple(p, NULL, false);
            jparse_expect_op(p, ')');
        }
    } else if (jparse_skip_op(p, '[')) {
        n = parse_list(p, t->line);
    } else if (jparse_skip_op(p, '{')) {
        n = parse_dict(p, t->line);
    } else {
        jparse_unexpected(p, "an expression");
    }
    p->depth--;
    return n;
}

static bool tuple_ends(struct jparser *p, const char *stop)
{
    enum jtoken_type type = jparse_peek(p)->type;
    return type == T_PRINT_END || type == T_BLOCK_END || jparse_is_op(p, ')') || (stop && jparse_is_name(p, stop));
}

struct jnode *jparse_tuple(struct jparser *p, const char *stop, bool plain)
{
    struct jnode *n = jparse_node(p, N_TUPLE, jparse_peek(p)->line);
    bool comma = false;
    for (;;) {
        if (tuple_ends(p, stop))
            break;
        jparse_push(p, &n->list, plain ? parse_or(p) : jparse_expr(p));
        if (!jparse_skip_op(p, ','))
            break;
        comma = true;
    }
    if (!n->list.n)
        jparse_unexpected(p, "an expression");
    return comma ? n : n->list.v[0];
}

static struct jnode *parse_one_target(struct jparser *p, bool with_namespace)
{
    int line = jparse_peek(p)->line;
    if (jparse_skip_op(p, '(')) {
        jparse_enter(p);
        struct jnode *n = jparse_target(p, NULL, with_namespace);
        jparse_expect_op(p, ')');
        p->depth--;
        return n;
    }
    if (jparse_peek(p)->type != T_NAME)
        jparse_unexpected(p, "a name to assign to");
    struct jnode *n = parse_word(p);
    if (n->type != N_NAME)
        jinja_fail(&p->fail, "a constant cannot be assigned to");
    if (!with_namespace || !jparse_skip_op(p, '.'))
        return n;
    struct jnode *ref = node2(p, N_NSREF, line, n, NULL); /* a.name = ... */
    struct jtoken *t = jparse_next(p);
    if (t->type != T_NAME)
        jinja_fail(&p->fail, "expected an attribute's name after '.'");
    ref->name = jparse_name(p, t->s, t->len);
    return ref;
}

struct jnode *jparse_target(struct jparser *p, const char *stop, bool with_namespace)
{
    struct jnode *n = jparse_node(p, N_TUPLE, jparse_peek(p)->line);
    bool comma = false;
    for (;;) {
        if (tuple_ends(p, stop) || jparse_is_op(p, '='))
            break;
        jparse_push(p, &n->list, parse_one_target(p, with_namespace));
        if (!jparse_skip_op(p, ','))
            break;
        comma = true;
    }
    if (!n->list.n)
        jparse_unexpected(p, "a name to assign to");
    return comma ? n : n->list.v[0];
}
