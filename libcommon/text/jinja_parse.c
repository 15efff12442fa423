/* Tokens to statements. */
#include <stdlib.h>

#include "text/jinja_internal.h"

void *jparse_get(struct jparser *p, size_t bytes)
{
    void *m = jarena_get(p->arena, bytes);
    memset(m, 0, bytes);
    return m;
}

struct jname *jparse_name(struct jparser *p, const char *s, size_t len)
{
    for (size_t i = 0; i < p->n_names; i++)
        if (p->names[i]->len == len && !memcmp(p->names[i]->s, s, len))
            return p->names[i];
    if (p->n_names == p->cap_names) {
        size_t cap = p->cap_names ? p->cap_names * 2 : 64;
        struct jname **v = jparse_get(p, cap * sizeof *v);
        if (p->n_names)
            memcpy(v, p->names, p->n_names * sizeof *v);
        p->names = v, p->cap_names = cap;
    }
    struct jname *n = jparse_get(p, sizeof *n);
    char *copy = jparse_get(p, len + 1);
    memcpy(copy, s, len);
    *n = (struct jname){copy, len};
    return p->names[p->n_names++] = n;
}

struct jnode *jparse_node(struct jparser *p, enum jnode_type type, int line)
{
    struct jnode *n = jparse_get(p, sizeof *n);
    n->type = type, n->line = line;
    return n;
}

void jparse_push(struct jparser *p, struct jnodes *list, struct jnode *n)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 4;
        struct jnode **v = jparse_get(p, list->cap * sizeof *v);
        if (list->n)
            memcpy(v, list->v, list->n * sizeof *v);
        list->v = v;
    }
    list->v[list->n++] = n;
}

struct jtoken *jparse_peek(struct jparser *p)
{
    struct jtoken *t = &p->tokens[p->at];
    p->fail.line = t->line;
    return t;
}

struct jtoken *jparse_next(struct jparser *p)
{
    struct jtoken *t = jparse_peek(p);
    if (t->type != T_EOF)
        p->at++;
    return t;
}

bool jparse_is_op(struct jparser *p, int op)
{
    struct jtoken *t = jparse_peek(p);
    return t->type == T_OP && t->op == op;
}

bool jparse_is_name(struct jparser *p, const char *name)
{
    struct jtoken *t = jparse_peek(p);
    return t->type == T_NAME && t->len == strlen(name) && !memcmp(t->s, name, t->len);
}

bool jparse_skip_op(struct jparser *p, int op)
{
    bool yes = jparse_is_op(p, op);
    p->at += yes;
    return yes;
}

bool jparse_skip_name(struct jparser *p, const char *name)
{
    bool yes = jparse_is_name(p, name);
    p->at += yes;
    return yes;
}

_Noreturn void jparse_unexpected(struct jparser *p, const char *expected)
{
    struct jtoken *t = jparse_peek(p);
    if (t->type == T_EOF)
        jinja_fail(&p->fail, "the template ends, expected %s", expected);
    jinja_fail(&p->fail, "found '%.*s', expected %s", (int)(t->len < 40 ? t->len : 40), t->s, expected);
}

void jparse_expect_op(struct jparser *p, int op)
{
    char text[5] = {'\'', (char)op, op >> 8 ? (char)(op >> 8) : '\'', op >> 8 ? '\'' : 0, 0};
    if (!jparse_skip_op(p, op))
        jparse_unexpected(p, text);
}

void jparse_enter(struct jparser *p)
{
    if (++p->depth > JINJA_MAX_NESTING)
        jinja_fail(&p->fail, "the template is nested too deeply");
}

static void expect_type(struct jparser *p, enum jtoken_type type, const char *what)
{
    if (jparse_peek(p)->type != type)
        jparse_unexpected(p, what);
    jparse_next(p);
}

static struct jname *expect_name(struct jparser *p, const char *what)
{
    struct jtoken *t = jparse_peek(p);
    if (t->type != T_NAME)
        jparse_unexpected(p, what);
    jparse_next(p);
    return jparse_name(p, t->s, t->len);
}

static struct jnode *parse_statement(struct jparser *p);

/* Statements up to one of the tags named in `ends` (blank separated), whose name is taken; NULL: up to the end of the template. */
static struct jnodes parse_body(struct jparser *p, const char *const *ends, int *which)
{
    struct jnodes body = {0};
    for (;;) {
        struct jtoken *t = jparse_next(p);
        if (t->type == T_TEXT) {
            struct jnode *n = jparse_node(p, N_TEXT, t->line);
            n->value.kind = J_STR;
            n->value.s = jparse_get(p, sizeof *n->value.s);
            *n->value.s = (struct jstr){.s = t->s, .len = t->len, .chars = utf8_count(t->s, t->len)};
            jparse_push(p, &body, n);
        } else if (t->type == T_PRINT_BEGIN) {
            struct jnode *n = jparse_node(p, N_PRINT, t->line);
            jparse_push(p, &n->list, jparse_tuple(p, NULL, false));
            expect_type(p, T_PRINT_END, "'}}'");
            jparse_push(p, &body, n);
        } else if (t->type == T_BLOCK_BEGIN) {
            for (int i = 0; ends && ends[i]; i++)
                if (jparse_skip_name(p, ends[i])) {
                    *which = i;
                    return body;
                }
            jparse_push(p, &body, parse_statement(p));
            expect_type(p, T_BLOCK_END, "'%}'");
        } else if (t->type == T_EOF && !ends) {
            return body;
        } else {
            jinja_fail(&p->fail, "the template ends, expected {%% %s %%}", ends ? ends[0] : "");
        }
    }
}

/* "%} body {% end": the tag's name is taken, its %} is left to the caller's caller. */
static struct jnodes parse_block(struct jparser *p, const char *end)
{
    int which;
    expect_type(p, T_BLOCK_END, "'%}'");
    return parse_body(p, (const char *[]){end, NULL}, &which);
}

/* The same for a body that is a scope of its own: conditions around it do not count (see jparse_expr()). */
static struct jnodes parse_inner(struct jparser *p, const char *const *ends, int *which)
{
    int conditions = p->conditions;
    p->conditions = 0;
    expect_type(p, T_BLOCK_END, "'%}'");
    struct jnodes body = parse_body(p, ends, which);
    p->conditions = conditions;
    return body;
}

static struct jnodes parse_inner_block(struct jparser *p, const char *end)
{
    int which;
    return parse_inner(p, (const char *[]){end, NULL}, &which);
}

/* if: a = condition, list = body, more = else part (for elif another N_IF with flag set) */
static struct jnode *parse_if(struct jparser *p, int line)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    struct jnode *first = jparse_node(p, N_IF, line), *n = first;
    int which;
    p->conditions++;
    for (;;) {
        n->a = jparse_tuple(p, NULL, true);
        expect_type(p, T_BLOCK_END, "'%}'");
        n->list = parse_body(p, ends, &which);
        if (which != 1)
            break;
        struct jnode *next = jparse_node(p, N_IF, jparse_peek(p)->line);
        next->flag = true;
        jparse_push(p, &n->more, next);
        n = next;
    }
    if (which == 2)
        n->more = parse_block(p, "endif");
    p->conditions--;
    return first;
}

/* for: a = target, b = iterable, c = inline condition, list = body, more = else part, flag = recursive */
static struct jnode *parse_for(struct jparser *p, int line)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    struct jnode *n = jparse_node(p, N_FOR, line);
    int which;
    n->a = jparse_target(p, "in", false);
    if (!jparse_skip_name(p, "in"))
        jparse_unexpected(p, "'in'");
    n->b = jparse_tuple(p, "recursive", true);
    if (jparse_skip_name(p, "if"))
        n->c = jparse_expr(p);
    n->flag = jparse_skip_name(p, "recursive");
    p->loops++;
    n->list = parse_inner(p, ends, &which);
    p->loops--;
    if (which == 1)
        n->more = parse_inner_block(p, "endfor");
    return n;
}

/* set: a = target, b = value; set block: a = target, list = body, b = filters over a J_MISSING constant */
static struct jnode *parse_set(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_SET, line);
    n->a = jparse_target(p, NULL, true);
    if (jparse_skip_op(p, '=')) {
        n->b = jparse_tuple(p, NULL, false);
        return n;
    }
    n->type = N_SET_BLOCK;
    n->c = jparse_node(p, N_CONST, line);
    n->b = jparse_filters(p, n->c, false);
    n->list = parse_inner_block(p, "endset");
    return n;
}

/* (a, b=1): list = parameter names as N_NAME, each with its default in a */
static void parse_signature(struct jparser *p, struct jnode *n)
{
    bool defaults = false;
    jparse_expect_op(p, '(');
    while (!jparse_skip_op(p, ')')) {
        if (n->list.n)
            jparse_expect_op(p, ',');
        struct jnode *name = jparse_node(p, N_NAME, n->line);
        name->name = expect_name(p, "a parameter name");
        if (jparse_skip_op(p, '=')) {
            name->a = jparse_expr(p);
            defaults = true;
        } else if (defaults) {
            jinja_fail(&p->fail, "a parameter without a default follows one with a default");
        }
        jparse_push(p, &n->list, name);
    }
}

/* Does the body of a macro, tokens [from, to), name `word`? */
static bool body_names(struct jparser *p, size_t from, size_t to, const char *word)
{
    for (size_t i = from; i < to; i++)
        if (p->tokens[i].type == T_NAME && p->tokens[i].len == strlen(word) && !memcmp(p->tokens[i].s, word, p->tokens[i].len) &&
            !(i && p->tokens[i - 1].type == T_OP && p->tokens[i - 1].op == '.'))
            return true;
    return false;
}

/* macro: name, list = parameters, more = body, flags = uses caller, kwargs, varargs */
static void parse_macro_body(struct jparser *p, struct jnode *n, const char *end)
{
    size_t from = p->at;
    int loops = p->loops;
    p->loops = 0;
    n->more = parse_inner_block(p, end);
    p->loops = loops;
    n->flag = body_names(p, from, p->at, "caller");
    n->flag2 = body_names(p, from, p->at, "kwargs");
    n->flag3 = body_names(p, from, p->at, "varargs");
}

static struct jnode *parse_macro(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_MACRO, line);
    n->name = expect_name(p, "the macro's name");
    parse_signature(p, n);
    parse_macro_body(p, n, "endmacro");
    return n;
}

/* call: a = the call, b = a nameless macro */
static struct jnode *parse_call(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_CALL_BLOCK, line);
    n->b = jparse_node(p, N_MACRO, line);
    if (jparse_is_op(p, '('))
        parse_signature(p, n->b);
    n->a = jparse_expr(p);
    if (n->a->type != N_CALL)
        jinja_fail(&p->fail, "{%% call %%} needs a call");
    parse_macro_body(p, n->b, "endcall");
    return n;
}

static struct jnode *parse_with(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_WITH, line); /* more = targets and values in turn, list = body */
    while (jparse_peek(p)->type != T_BLOCK_END) {
        if (n->more.n)
            jparse_expect_op(p, ',');
        jparse_push(p, &n->more, jparse_target(p, NULL, false));
        jparse_expect_op(p, '=');
        jparse_push(p, &n->more, jparse_expr(p));
    }
    n->list = parse_inner_block(p, "endwith");
    return n;
}

static struct jnode *parse_scoped(struct jparser *p, int line, enum jnode_type type, const char *end)
{
    struct jnode *n = jparse_node(p, type, line);
    int loops = p->loops;
    p->loops = 0; /* a break cannot leave it */
    n->list = parse_inner_block(p, end);
    p->loops = loops;
    return n;
}

/* a = whether, list = body. Chat templates are rendered without; only turning it off, which changes nothing, works. */
static struct jnode *parse_autoescape(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_AUTOESCAPE, line);
    n->a = jparse_expr(p);
    n->list = parse_inner_block(p, "endautoescape");
    return n;
}

static struct jnode *parse_filter_block(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_FILTER_BLOCK, line); /* b = filters over the constant c, list = body */
    n->c = jparse_node(p, N_CONST, line);
    n->b = jparse_filters(p, n->c, true);
    n->list = parse_inner_block(p, "endfilter");
    return n;
}

static struct jnode *parse_print(struct jparser *p, int line)
{
    struct jnode *n = jparse_node(p, N_PRINT, line);
    while (jparse_peek(p)->type != T_BLOCK_END) {
        if (n->list.n)
            jparse_expect_op(p, ',');
        jparse_push(p, &n->list, jparse_expr(p));
    }
    return n;
}

static struct jnode *parse_block_tag(struct jparser *p, int line)
{
    expect_name(p, "the block's name");
    while (jparse_skip_name(p, "scoped") || jparse_skip_name(p, "required"))
        ;
    struct jnode *n = parse_scoped(p, line, N_SCOPE, "endblock");
    if (jparse_peek(p)->type == T_NAME)
        jparse_next(p);
    return n;
}

static struct jnode *parse_jump(struct jparser *p, int line, enum jnode_type type)
{
    if (!p->loops)
        jinja_fail(&p->fail, "{%% %s %%} outside of a loop", type == N_BREAK ? "break" : "continue");
    return jparse_node(p, type, line);
}

static struct jnode *parse_statement(struct jparser *p)
{
    struct jtoken *t = jparse_peek(p);
    int line = t->line;
    struct jnode *n = NULL;
    jparse_enter(p);
    if (jparse_skip_name(p, "if"))
        n = parse_if(p, line);
    else if (jparse_skip_name(p, "for"))
        n = parse_for(p, line);
    else if (jparse_skip_name(p, "set"))
        n = parse_set(p, line);
    else if (jparse_skip_name(p, "macro"))
        n = parse_macro(p, line);
    else if (jparse_skip_name(p, "call"))
        n = parse_call(p, line);
    else if (jparse_skip_name(p, "filter"))
        n = parse_filter_block(p, line);
    else if (jparse_skip_name(p, "with"))
        n = parse_with(p, line);
    else if (jparse_skip_name(p, "autoescape"))
        n = parse_autoescape(p, line);
    else if (jparse_skip_name(p, "print"))
        n = parse_print(p, line);
    else if (jparse_skip_name(p, "block"))
        n = parse_block_tag(p, line);
    else if (jparse_skip_name(p, "break"))
        n = parse_jump(p, line, N_BREAK);
    else if (jparse_skip_name(p, "continue"))
        n = parse_jump(p, line, N_CONTINUE);
    else if (jparse_skip_name(p, "generation"))
        n = parse_scoped(p, line, N_GENERATION, "endgeneration"), p->generation = true;
    else if (t->type == T_NAME)
        jinja_fail(&p->fail, "the tag '%.*s' is unknown here", (int)(t->len < 40 ? t->len : 40), t->s);
    else
        jparse_unexpected(p, "a tag's name");
    p->depth--;
    return n;
}

struct jnodes jparse_template(struct jparser *p)
{
    struct jnodes body = parse_body(p, NULL, NULL);
    if (p->unknown) {
        p->fail.line = p->unknown->line;
        jinja_fail(&p->fail, "there is no %s named '%s'", p->unknown->type == N_FILTER ? "filter" : "test", p->unknown->name->s);
    }
    return body;
}
