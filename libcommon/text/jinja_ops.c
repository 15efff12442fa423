/* Arithmetic and comparison as in Python. */
#include <math.h>

#include "text/jinja_internal.h"

_Noreturn static void overflow(struct jrender *r)
{
    jr_fail(r, "an integer does not fit 64 bits");
}

_Noreturn static void bad_operands(struct jrender *r, const char *op, struct jv a, struct jv b)
{
    if (a.kind == J_UNDEF || b.kind == J_UNDEF)
        jv_fail_undef(r, a.kind == J_UNDEF ? a : b);
    jr_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op, jv_type(a), jv_type(b));
}

struct jv jop_escape(struct jrender *r, struct jv v)
{
    struct jstr *s = jv_to_str(r, v);
    struct jbuild b;
    size_t start = 0;
    if (v.kind == J_STR && s->markup)
        return v;
    jbuild_init(&b, r);
    for (size_t i = 0; i < s->len; i++) {
        char c = s->s[i];
        const char *entity = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&#34;" : c == '\'' ? "&#39;" : NULL;
        if (!entity)
            continue;
        jbuild_sub(&b, s, start, i);
        jbuild_add(&b, entity, strlen(entity), jstr_tag(s, i));
        start = i + 1;
    }
    jbuild_sub(&b, s, start, s->len);
    struct jv out = jbuild_done(&b);
    out.s->markup = true;
    return out;
}

static struct jv concat(struct jrender *r, struct jv a, struct jv b)
{
    bool markup = a.s->markup || b.s->markup;
    struct jbuild out;
    if (markup)
        a = jop_escape(r, a), b = jop_escape(r, b);
    jbuild_init(&out, r);
    jbuild_str(&out, a.s);
    jbuild_str(&out, b.s);
    struct jv v = jbuild_done(&out);
    v.s->markup = markup;
    return v;
}

static struct jv add(struct jrender *r, struct jv a, struct jv b)
{
    if (a.kind == J_STR && b.kind == J_STR)
        return concat(r, a, b);
    if (jv_is_seq(a) && a.kind == b.kind) {
        struct jv l = jv_list(r, a.kind, a.l->n + b.l->n);
        for (size_t i = 0; i < a.l->n; i++)
            jlist_push(r, l.l, a.l->v[i]);
        for (size_t i = 0; i < b.l->n; i++)
            jlist_push(r, l.l, b.l->v[i]);
        jr_step(r, l.l->n);
        return l;
    }
    if (a.kind == J_STR && b.kind != J_UNDEF)
        jr_fail(r, "can only concatenate str (not \"%s\") to str", jv_type(b));
    bad_operands(r, "+", a, b);
}

static struct jv repeat(struct jrender *r, struct jv v, int64_t n)
{
    size_t size = v.kind == J_STR ? v.s->len : v.l->n * sizeof(struct jv);
    if (n <= 0 || !size)
        n = 0;
    else if (size > JINJA_MAX_MEMORY / (uint64_t)n)
        jr_fail(r, "the template needs more than %llu MiB of memory", JINJA_MAX_MEMORY >> 20);
    if (v.kind == J_STR) {
        struct jbuild b;
        jbuild_init(&b, r);
        jr_step(r, (size_t)n);
        for (int64_t i = 0; i < n; i++)
            jbuild_str(&b, v.s);
        struct jv out = jbuild_done(&b);
        out.s->markup = v.s->markup;
        return out;
    }
    struct jv l = jv_list(r, v.kind, (size_t)n * v.l->n);
    jr_step(r, (size_t)n * v.l->n);
    for (int64_t i = 0; i < n; i++)
        for (size_t k = 0; k < v.l->n; k++)
            jlist_push(r, l.l, v.l->v[k]);
    return l;
}

static struct jv int_power(struct jrender *r, int64_t base, int64_t exponent)
{
    int64_t result = 1;
    if (exponent < 0) {
        if (!base)
            jr_fail(r, "0 cannot be raised to a negative power");
        return jv_float(pow((double)base, (double)exponent));
    }
    while (exponent) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result))
            overflow(r);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base))
            overflow(r);
    }
    return jv_int(result);
}

static struct jv int_op(struct jrender *r, int op, int64_t a, int64_t b)
{
    int64_t x;
    switch (op) {
    case OP_ADD:
        return __builtin_add_overflow(a, b, &x) ? (overflow(r), jv_none()) : jv_int(x);
    case OP_SUB:
        return __builtin_sub_overflow(a, b, &x) ? (overflow(r), jv_none()) : jv_int(x);
    case OP_MUL:
        return __builtin_mul_overflow(a, b, &x) ? (overflow(r), jv_none()) : jv_int(x);
    case OP_POW:
        return int_power(r, a, b);
    default:
        break;
    }
    if (!b)
        jr_fail(r, op == OP_DIV ? "division by zero" : "integer division or modulo by zero");
    if (op == OP_DIV) /* rounded once for all 64-bit operands: the quotient of long doubles is within half a unit of 64 bits */
        return jv_float((double)((long double)a / (long double)b));
    if (b == -1)
        return op == OP_MOD ? jv_int(0) : int_op(r, OP_SUB, 0, a);
    x = a % b;
    bool adjust = x && (x < 0) != (b < 0);
    return jv_int(op == OP_MOD ? x + (adjust ? b : 0) : a / b - adjust);
}

/* CPython's float_divmod: the quotient is floored, the remainder has the divisor's sign. */
static struct jv float_divmod(struct jrender *r, bool want_mod, double a, double b)
{
    if (!b)
        jr_fail(r, want_mod ? "float modulo by zero" : "float floor division by zero");
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod) {
        if ((b < 0) != (mod < 0))
            mod += b, div -= 1;
    } else {
        mod = copysign(0, b);
    }
    if (want_mod)
        return jv_float(mod);
    double whole = div ? floor(div) : copysign(0, a / b);
    return jv_float(div && div - whole > 0.5 ? whole + 1 : whole);
}

static struct jv float_op(struct jrender *r, int op, double a, double b)
{
    switch (op) {
    case OP_ADD:
        return jv_float(a + b);
    case OP_SUB:
        return jv_float(a - b);
    case OP_MUL:
        return jv_float(a * b);
    case OP_DIV:
        if (!b)
            jr_fail(r, "float division by zero");
        return jv_float(a / b);
    case OP_POW:
        if (!a && b < 0)
            jr_fail(r, "0 cannot be raised to a negative power");
        if (a < 0 && isfinite(b) && b != floor(b))
            jr_fail(r, "complex numbers are not supported");
        if (isinf(pow(a, b)) && isfinite(a) && isfinite(b))
            jr_fail(r, "the result of ** is too large");
        return jv_float(pow(a, b));
    default:
        return float_divmod(r, op == OP_MOD, a, b);
    }
}

struct jv jop_binary(struct jrender *r, int op, struct jv a, struct jv b)
{
    static const char *const names[] = {"", "+", "-", "*", "/", "//", "%", "** or pow()"};
    if (jv_is_int(a) && jv_is_int(b))
        return int_op(r, op, jv_as_int(a), jv_as_int(b));
    if (jv_is_number(a) && jv_is_number(b))
        return float_op(r, op, jv_as_float(a), jv_as_float(b));
    if (op == OP_ADD)
        return add(r, a, b);
    if (op == OP_MUL && (a.kind == J_STR || jv_is_seq(a)) && jv_is_int(b))
        return repeat(r, a, jv_as_int(b));
    if (op == OP_MUL && (b.kind == J_STR || jv_is_seq(b)) && jv_is_int(a))
        return repeat(r, b, jv_as_int(a));
    if (op == OP_MOD && a.kind == J_STR)
        return jstr_percent(r, a.s, b);
    bad_operands(r, names[op], a, b);
}

bool jop_compare(struct jrender *r, int op, struct jv a, struct jv b)
{
    static const char *const names[] = {[OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">="};
    switch (op) {
    case OP_EQ:
        return jv_equal(r, a, b);
    case OP_NE:
        return !jv_equal(r, a, b);
    case OP_IN:
        return jv_contains(r, b, a);
    case OP_NOT_IN:
        return !jv_contains(r, b, a);
    default:
        break;
    }
    int c = jv_order(r, a, b, names[op]);
    if (c == 2)
        return false;
    return op == OP_LT ? c < 0 : op == OP_LE ? c <= 0 : op == OP_GT ? c > 0 : c >= 0;
}

struct jv jop_negate(struct jrender *r, struct jv v, bool negative)
{
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (v.kind == J_FLOAT)
        return negative ? jv_float(-v.f) : v;
    if (!jv_is_int(v))
        jr_fail(r, "bad operand type for unary %c: '%s'", negative ? '-' : '+', jv_type(v));
    return negative ? int_op(r, OP_SUB, 0, jv_as_int(v)) : jv_int(jv_as_int(v));
}
