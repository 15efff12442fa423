/* Inside of the template engine; nothing but text/jinja_*.c includes this.
 *
 *     jinja_lex.c      source -> tokens, whitespace control done
 *     jinja_parse.c    statements; jinja_parse_expr.c: expressions
 *     jinja_value.c    values, strings that know where each byte came from
 *     jinja_dict.c     lists and dicts; jinja_compare.c: equality, order, truth
 *     jinja_print.c    str(), repr(), float text; jinja_json.c: tojson and JSON in
 *     jinja_iter.c     iteration, lazy filters
 *     jinja_ops.c      + - * / ...; jinja_attr.c: a.b, a[b], slices
 *     jinja_eval.c     expressions; jinja_exec.c: statements; jinja_call.c: calls, macros, globals
 *     jinja_filters.c jinja_filters_seq.c jinja_filters_str.c jinja_tests.c jinja_methods.c jinja_format.c
 *     jinja_wrap.c jinja_html.c jinja_pprint.c: one larger filter each
 *
 * Memory: one arena per template (syntax tree) and one per render (values). Nothing is freed singly.
 * Errors: jinja_fail() writes "name: line N: text" and jumps out of the render or the parse, which then frees its
 * arena; so no function here returns an error, and none may hold memory outside the arena. */
#ifndef TEXT_JINJA_INTERNAL_H
#define TEXT_JINJA_INTERNAL_H

#include <setjmp.h>
#include <string.h>

#include "base/mem.h"
#include "text/jinja.h"
#include "text/utf8.h"

/* Limits that stop hostile templates; far above what a chat needs. */
#define JINJA_MAX_SOURCE (16u << 20)  /* bytes of template source */
#define JINJA_MAX_MEMORY (512ull << 20) /* bytes of values in one render */
#define JINJA_MAX_STEPS 20000000u     /* nodes evaluated, items iterated, 64-byte pieces of text copied */
#define JINJA_MAX_DEPTH 600           /* nested evaluation, macro recursion, nesting of printed containers */
#define JINJA_MAX_NESTING 120         /* brackets and blocks in the source */
#define JINJA_MAX_RANGE 100000        /* as the sandbox of jinja2 */

struct jchunk;
struct jrender;
struct jnode;
struct jarena {
    struct jchunk *head;
    size_t total;
};
void *jarena_get(struct jarena *a, size_t bytes); /* 16-byte aligned, not zeroed */
void jarena_release(struct jarena *a);

/* ---- values ---- */

enum jkind {
    J_MISSING, /* no value: an argument not given */
    J_UNDEF, J_NONE, J_BOOL, J_INT, J_FLOAT, J_STR, J_LIST, J_TUPLE, J_DICT, J_RANGE, J_VIEW, J_ITER, J_NAMESPACE,
    J_MACRO, J_FUNCTION, J_METHOD, J_LOOP, J_CYCLER, J_JOINER,
};

/* Where bytes came from: a message (1 + index), JINJA_ORIGIN_DATA or JINJA_ORIGIN_TEMPLATE; and in which turn they were put out. */
struct jtag {
    uint32_t origin;
    uint32_t turn; /* 1 + index of the message whose loop iteration made it, 0: none; JTAG_GENERATION: in a generation block */
};
#define JTAG_GENERATION 0x80000000u

struct jrun {
    size_t end;
    struct jtag tag;
};

struct jstr {
    const char *s;
    size_t len;
    size_t chars;      /* code points; SIZE_MAX: not counted yet */
    struct jrun *runs; /* NULL: all of it is `tag` */
    size_t n_runs;
    struct jtag tag;
    bool markup;       /* escaped already (filters safe, e) */
};

struct jv {
    enum jkind kind;
    union {
        bool b;
        int64_t i;
        double f;
        struct jstr *s;
        struct jlist *l;       /* list and tuple */
        struct jdict *d;       /* dict and namespace */
        struct jrange *range;
        struct jview *view;
        struct jiter *it;
        struct jmacro *macro;
        const struct jbuiltin *fn;
        struct jmethod *method;
        struct jloop *loop;
        struct jcycler *cycler; /* cycler and joiner */
        const struct jundef *u;
    };
};

struct jlist {
    struct jv *v;
    size_t n, cap;
    bool group; /* a pair of groupby's, whose items have names */
};
struct jpair { struct jv key, value; };
struct jdict {
    struct jpair *v;
    size_t n, cap;
    uint32_t *table;   /* open addressing, 1 + index; NULL while small */
    size_t table_size; /* power of two */
    uint32_t message;  /* 1 + index when this is messages[index] */
};
struct jrange { int64_t start, stop, step, n; };
struct jview { struct jdict *d; char part; /* 'k', 'v', 'i' */ };
struct jundef {
    const char *name;   /* may be NULL */
    size_t name_len;
    const char *owner;  /* type the attribute was looked for in; NULL: a variable */
    const char *text;   /* whole message, or NULL */
    bool unsafe;        /* refused by the sandbox */
};
struct jname { const char *s; size_t len; };
struct jcycler { struct jlist items; size_t pos; struct jstr *sep; bool used; };

struct jargs {
    struct jv *v;
    size_t n;
    struct jname *kw_name;
    struct jv *kw;
    size_t n_kw;
};

/* A function known to templates. params: names of its parameters, blank separated, "!" before those that must be given; args then holds
 * exactly these, J_MISSING where absent. NULL: takes args as they come. self: the filtered, tested or owning value. */
typedef struct jv jbuiltin_fn(struct jrender *r, struct jv self, const struct jargs *args);
struct jbuiltin {
    const char *name;
    jbuiltin_fn *fn;
    const char *params;
};
struct jmethod { struct jv self; const struct jbuiltin *fn; };

struct jscope;
struct jmacro {
    const struct jnode *node; /* its list: parameters */
    struct jscope *scope;     /* where it was defined */
    bool uses_caller, uses_kwargs, uses_varargs;
};

/* ---- syntax tree ---- */

enum jop { OP_ADD = 1, OP_SUB, OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD, OP_POW, OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOT_IN };

enum jnode_type {
    N_CONST, N_NAME, N_LIST, N_TUPLE, N_DICT, N_CONDITION, N_OR, N_AND, N_NOT, N_NEG, N_POS, N_BINARY, N_CONCAT, N_COMPARE, N_ATTR, N_ITEM,
    N_SLICE, N_CALL, N_FILTER, N_TEST, N_NSREF,
    /* statements */
    N_TEXT, N_PRINT, N_IF, N_FOR, N_SET, N_SET_BLOCK, N_MACRO, N_CALL_BLOCK, N_FILTER_BLOCK, N_WITH, N_SCOPE, N_GENERATION, N_AUTOESCAPE, N_BREAK, N_CONTINUE,
};

struct jnodes { struct jnode **v; size_t n, cap; };

/* a, b, c, list, more: see the parser where each type is made. */
struct jnode {
    enum jnode_type type;
    int line;
    int op;                  /* enum jop; in lists of N_COMPARE one per operand */
    bool flag;               /* for: recursive; call: a *args or **kwargs follows (b, c); macro: uses caller */
    bool flag2, flag3;       /* macro: uses kwargs, varargs */
    struct jname *name;
    struct jnode *a, *b, *c;
    struct jnodes list, more;
    struct jname **names;    /* keyword names of `more` */
    struct jv value;         /* N_CONST */
    const struct jbuiltin *fn; /* filter, test; NULL: not known, an error when reached */
};

/* ---- errors ---- */

struct jfail {
    jmp_buf jump;
    struct err *e;
    const char *name;
    int line;
};
_Noreturn void jinja_fail(struct jfail *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- lexer and parser ---- */

enum jtoken_type { T_TEXT, T_PRINT_BEGIN, T_PRINT_END, T_BLOCK_BEGIN, T_BLOCK_END, T_NAME, T_STRING, T_INT, T_FLOAT, T_OP, T_EOF };

struct jtoken {
    enum jtoken_type type;
    int line;
    const char *s; /* text; strings: unescaped */
    size_t len;
    int op;        /* T_OP: its characters, first one lowest byte: '=' | '=' << 8 */
    int64_t i;
    double f;
};

struct jparser {
    struct jfail fail;
    struct jarena *arena;
    const char *src;
    size_t len;
    struct jtoken *tokens;
    size_t n_tokens, cap_tokens, at;
    struct jname **names;
    size_t n_names, cap_names;
    int depth, loops, conditions; /* nesting of the parse; loops a break may leave; inside if / conditional expression */
    const struct jnode *unknown;  /* first filter or test that does not exist, outside of conditions */
    bool generation;
};
#define JOP1(a) ((unsigned char)(a))
#define JOP2(a, b) ((unsigned char)(a) | (unsigned char)(b) << 8)

void jlex(struct jparser *p);
void *jparse_get(struct jparser *p, size_t bytes); /* zeroed */
struct jname *jparse_name(struct jparser *p, const char *s, size_t len);
struct jnode *jparse_node(struct jparser *p, enum jnode_type type, int line);
void jparse_push(struct jparser *p, struct jnodes *list, struct jnode *n);
struct jtoken *jparse_peek(struct jparser *p);
struct jtoken *jparse_next(struct jparser *p);
bool jparse_is_op(struct jparser *p, int op);
bool jparse_is_name(struct jparser *p, const char *name);
bool jparse_skip_op(struct jparser *p, int op);
bool jparse_skip_name(struct jparser *p, const char *name);
void jparse_expect_op(struct jparser *p, int op);
_Noreturn void jparse_unexpected(struct jparser *p, const char *expected);
void jparse_enter(struct jparser *p);
struct jnode *jparse_expr(struct jparser *p);
/* Tuple or single expression. stop: a name that ends it. plain: no inline if. targets: assignment targets only (names, ns.attr). */
struct jnode *jparse_tuple(struct jparser *p, const char *stop, bool plain);
struct jnode *jparse_target(struct jparser *p, const char *stop, bool with_namespace);
struct jnode *jparse_filters(struct jparser *p, struct jnode *n, bool first_without_pipe);
struct jnode *jparse_postfix(struct jparser *p, struct jnode *n);
struct jnode *jparse_primary(struct jparser *p);
struct jnodes jparse_template(struct jparser *p);

/* ---- rendering ---- */

struct jbinding { const struct jname *name; struct jv value; };
struct jscope {
    struct jscope *parent;
    struct jbinding *v;
    size_t n, cap;
};

/* A string under construction. */
struct jbuild {
    struct jrender *r;
    char *s;
    size_t len, cap;
    struct jrun *runs;
    size_t n_runs, cap_runs;
    bool output; /* statements write here: bytes are marked when inside a generation block */
    bool root;   /* the text itself: what is put out in a turn belongs to it, wherever it was made */
};

struct jrender {
    struct jfail fail;
    struct jarena arena;
    struct jdict *variables;
    struct jbuild *out;      /* where statements write */
    uint32_t turn, generation;
    unsigned steps;
    int depth;
    int64_t now;
    const struct jinja *template;
};

enum { JNAME_LOOP, JNAME_CALLER, JNAME_KWARGS, JNAME_VARARGS, JNAMES };
struct jinja {
    struct jarena arena;
    char *name;
    const char *source;
    size_t len;
    struct jnodes body;
    const struct jname *names[JNAMES]; /* names with a meaning of their own */
    bool generation;
};

void *jr_get(struct jrender *r, size_t bytes);
void jr_step(struct jrender *r, size_t n);
void jr_enter(struct jrender *r);
#define jr_leave(r) ((r)->depth--)
#define jr_fail(r, ...) jinja_fail(&(r)->fail, __VA_ARGS__)

/* values */
static inline struct jv jv_none(void) { return (struct jv){.kind = J_NONE}; }
static inline struct jv jv_bool(bool b) { return (struct jv){.kind = J_BOOL, .b = b}; }
static inline struct jv jv_int(int64_t i) { return (struct jv){.kind = J_INT, .i = i}; }
static inline struct jv jv_float(double f) { return (struct jv){.kind = J_FLOAT, .f = f}; }
static inline struct jv jv_missing(void) { return (struct jv){.kind = J_MISSING}; }
static inline bool jv_is_number(struct jv v) { return v.kind == J_INT || v.kind == J_FLOAT || v.kind == J_BOOL; }
static inline bool jv_is_seq(struct jv v) { return v.kind == J_LIST || v.kind == J_TUPLE; }
static inline int64_t jv_as_int(struct jv v) { return v.kind == J_BOOL ? v.b : v.i; } /* of int and bool */
static inline bool jv_is_int(struct jv v) { return v.kind == J_INT || v.kind == J_BOOL; }
double jv_as_float(struct jv v);                             /* of numbers */
struct jv jv_undef(struct jrender *r, const char *owner, const char *name, size_t len);
struct jv jv_undef_text(struct jrender *r, const char *text);
_Noreturn void jv_fail_undef(struct jrender *r, struct jv v);
struct jv jv_text(struct jrender *r, const char *s);         /* copy, template origin */
struct jv jv_str(struct jrender *r, const char *s, size_t len, struct jtag tag); /* borrows s */
struct jv jv_sub(struct jrender *r, const struct jstr *s, size_t from, size_t to); /* bytes [from, to), origins kept */
struct jv jv_list(struct jrender *r, enum jkind kind, size_t cap);
struct jv jv_dict(struct jrender *r);
struct jv jv_pair(struct jrender *r, struct jv a, struct jv b); /* tuple of two */
void jlist_push(struct jrender *r, struct jlist *l, struct jv v);
void jdict_set(struct jrender *r, struct jdict *d, struct jv key, struct jv value);
struct jv *jdict_get(struct jrender *r, const struct jdict *d, struct jv key); /* NULL: absent */
struct jv *jdict_get_text(struct jrender *r, const struct jdict *d, const char *s, size_t len);
const char *jv_type(struct jv v);                            /* Python's type name */
bool jv_true(struct jrender *r, struct jv v);
bool jv_equal(struct jrender *r, struct jv a, struct jv b);
int jv_order(struct jrender *r, struct jv a, struct jv b, const char *op); /* <0 0 >0; 2: unordered (NaN); raises when the types have no order */
bool jv_contains(struct jrender *r, struct jv container, struct jv item);
uint64_t jv_hash(struct jrender *r, struct jv v);            /* raises for lists and dicts */
bool jv_length(struct jrender *r, struct jv v, int64_t *n);  /* false: has none */
size_t jstr_chars(struct jrender *r, struct jstr *s);
size_t jstr_offset(struct jrender *r, struct jstr *s, size_t chars); /* byte offset of a code point */
bool jstr_is(const struct jstr *s, const char *text);
int64_t jv_need_int(struct jrender *r, struct jv v, const char *what);
struct jstr *jv_need_str(struct jrender *r, struct jv v, const char *what);

/* strings under construction */
void jbuild_init(struct jbuild *b, struct jrender *r);
void jbuild_add(struct jbuild *b, const char *s, size_t len, struct jtag tag);
void jbuild_text(struct jbuild *b, const char *s);           /* template origin */
void jbuild_sub(struct jbuild *b, const struct jstr *s, size_t from, size_t to);
void jbuild_str(struct jbuild *b, const struct jstr *s);
void jbuild_char(struct jbuild *b, uint32_t c, struct jtag tag);
void jbuild_value(struct jbuild *b, struct jv v);            /* str(v) */
void jbuild_repr(struct jbuild *b, struct jv v);
struct jv jbuild_done(struct jbuild *b);
struct jtag jstr_tag(const struct jstr *s, size_t byte);     /* of one byte */
struct jstr *jv_to_str(struct jrender *r, struct jv v);      /* str(v); a str is given back as it is */
const char *jv_cstr(struct jrender *r, struct jv v);         /* for messages: NUL-terminated str(v), shortened */

size_t jfloat_text(double f, char out[32]);                  /* Python's repr */
struct jv jinja_tojson(struct jrender *r, struct jv v, const struct jargs *args); /* ensure_ascii, indent, separators, sort_keys */
struct jv jinja_from_json(struct jrender *r, const json_t *j, uint32_t origin);

/* unicode */
bool jchar_is_space(uint32_t c);
bool jchar_is_word(uint32_t c);                              /* Python's \w */
bool jchar_cased(uint32_t c);
int jchar_case(uint32_t c, char how, uint32_t out[3]);       /* 'u', 'l', 't': up to 3 characters */
size_t jspace_start(const char *s, size_t len);              /* bytes of leading whitespace */
size_t jspace_end(const char *s, size_t len);                /* length without trailing whitespace */

/* iteration */
struct jiter {
    struct jv source;
    struct jrender *r;
    size_t at;
    enum jiter_kind { JI_PLAIN, JI_REVERSED, JI_MAP, JI_SELECT, JI_UNIQUE, JI_BATCH, JI_SLICE, JI_FOR } kind;
    struct jiter *inner;      /* lazy filters pull from here */
    const struct jbuiltin *fn;
    struct jargs args;
    struct jv attribute, fallback; /* J_MISSING: none */
    bool negate, done, case_sensitive;
    struct jdict *seen;
    const struct jnode *node; /* JI_FOR: the loop whose inline condition filters */
    struct jscope *scope;
    int64_t count, extra;
    const char *type;         /* as Python would print it */
};
struct jiter *jiter_new(struct jrender *r, struct jv v);     /* raises when v cannot be iterated */
bool jiter_try(struct jrender *r, struct jv v, struct jiter **it);
bool jiter_next(struct jiter *it, struct jv *v);
struct jv jv_to_list(struct jrender *r, struct jv v);        /* a new list */
struct jv jv_lazy(struct jiter *it);
struct jv jv_sort_key(struct jrender *r, struct jv v, struct jv attribute, bool case_sensitive);

/* operations */
struct jv jop_binary(struct jrender *r, int op, struct jv a, struct jv b);
bool jop_compare(struct jrender *r, int op, struct jv a, struct jv b);
struct jv jop_negate(struct jrender *r, struct jv v, bool negative);
struct jv jop_escape(struct jrender *r, struct jv v);        /* HTML, gives markup */
struct jv jv_attr(struct jrender *r, struct jv v, const char *name, size_t len);  /* v.name */
struct jv jv_item(struct jrender *r, struct jv v, struct jv key);                 /* v[key] */
struct jv jv_slice(struct jrender *r, struct jv v, struct jv start, struct jv stop, struct jv step);
struct jv jv_path(struct jrender *r, struct jv v, struct jv path, struct jv fallback); /* "a.b.0" or an integer, as map(attribute=) */

/* evaluation */
struct jv jeval(struct jrender *r, struct jscope *s, const struct jnode *n);
void jexec_for(struct jrender *r, struct jscope *s, const struct jnode *n);
enum jflow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };
enum jflow jexec_body(struct jrender *r, struct jscope *s, const struct jnodes *body);
struct jscope *jscope_new(struct jrender *r, struct jscope *parent);
void jscope_set(struct jrender *r, struct jscope *s, const struct jname *name, struct jv v);
void jassign(struct jrender *r, struct jscope *s, const struct jnode *target, struct jv v);
struct jv jcall(struct jrender *r, struct jv f, const struct jargs *args);
struct jv jcall_builtin(struct jrender *r, const struct jbuiltin *fn, struct jv self, const struct jargs *args);
void jcall_args(struct jrender *r, struct jscope *s, const struct jnode *n, struct jargs *args);
struct jv jmacro_new(struct jrender *r, struct jscope *s, const struct jnode *n);
struct jv jloop_call(struct jrender *r, struct jloop *l, struct jv iterable);
struct jv jloop_attr(struct jrender *r, struct jloop *l, const char *name, size_t len);
void jloop_repr(struct jrender *r, struct jloop *l, char *text, size_t size);
struct jv jglobal(const char *name, size_t len);             /* J_MISSING: no such global */
bool jv_callable(struct jv v);

/* tables */
const struct jbuiltin *jfilter_find(const char *name, size_t len);
const struct jbuiltin *jtest_find(const char *name, size_t len);
const struct jbuiltin *jmethod_find(struct jv v, const char *name, size_t len, bool *unsafe);
extern const struct jbuiltin jfilters_basic[], jfilters_seq[], jfilters_str[], jmethods_str[], jmethods_str_is[];
jbuiltin_fn jfilter_wordwrap, jfilter_striptags, jfilter_pprint;
struct jv jstr_format(struct jrender *r, struct jstr *format, const struct jargs *args);   /* "{}".format() */
struct jv jstr_percent(struct jrender *r, struct jstr *format, struct jv args);            /* "%s" % args */
/* str methods that filters use too; NULL chars: whitespace */
struct jv jstr_strip(struct jrender *r, struct jstr *s, struct jstr *chars, bool left, bool right);
struct jv jstr_replace(struct jrender *r, struct jstr *s, struct jstr *old, struct jstr *with, int64_t count);
struct jv jstr_case(struct jrender *r, struct jstr *s, char how); /* 'u', 'l', 'c'apitalize, 't'itle (str.title), 's'wapcase */
struct jv jstr_splitlines(struct jrender *r, struct jstr *s, bool keep);
size_t jstr_find(const struct jstr *s, const struct jstr *what, size_t from, size_t to, bool last); /* SIZE_MAX: absent */

#define JTAG_TEMPLATE ((struct jtag){JINJA_ORIGIN_TEMPLATE, 0})

#endif
