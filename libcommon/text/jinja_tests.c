/* Tests: x is NAME. */
#include "text/jinja_internal.h"

#define TEST(name) static struct jv test_##name(struct jrender *r, struct jv v, const struct jargs *args)
#define UNUSED (void)r, (void)args

TEST(defined) { UNUSED; return jv_bool(v.kind != J_UNDEF); }
TEST(undefined) { UNUSED; return jv_bool(v.kind == J_UNDEF); }
TEST(none) { UNUSED; return jv_bool(v.kind == J_NONE); }
TEST(boolean) { UNUSED; return jv_bool(v.kind == J_BOOL); }
TEST(true) { UNUSED; return jv_bool(v.kind == J_BOOL && v.b); }
TEST(false) { UNUSED; return jv_bool(v.kind == J_BOOL && !v.b); }
TEST(integer) { UNUSED; return jv_bool(v.kind == J_INT); }
TEST(float) { UNUSED; return jv_bool(v.kind == J_FLOAT); }
TEST(number) { UNUSED; return jv_bool(jv_is_number(v)); }
TEST(string) { UNUSED; return jv_bool(v.kind == J_STR); }
TEST(mapping) { UNUSED; return jv_bool(v.kind == J_DICT); }
TEST(callable) { UNUSED; return jv_bool(jv_callable(v)); }
TEST(escaped) { UNUSED; return jv_bool(v.kind == J_STR && v.s->markup); }

TEST(iterable)
{
    struct jiter *it;
    (void)args;
    return jv_bool(v.kind == J_LOOP || jiter_try(r, v, &it));
}

/* has a length and items: everything with a length but the views of a dict */
TEST(sequence)
{
    int64_t n;
    (void)args;
    return jv_bool(v.kind != J_VIEW && jv_length(r, v, &n));
}

TEST(odd) { (void)args; return jv_bool(jop_compare(r, OP_EQ, jop_binary(r, OP_MOD, v, jv_int(2)), jv_int(1))); }
TEST(even) { (void)args; return jv_bool(jop_compare(r, OP_EQ, jop_binary(r, OP_MOD, v, jv_int(2)), jv_int(0))); }
TEST(divisibleby) { return jv_bool(jop_compare(r, OP_EQ, jop_binary(r, OP_MOD, v, args->v[0]), jv_int(0))); }
TEST(eq) { return jv_bool(jop_compare(r, OP_EQ, v, args->v[0])); }
TEST(ne) { return jv_bool(jop_compare(r, OP_NE, v, args->v[0])); }
TEST(lt) { return jv_bool(jop_compare(r, OP_LT, v, args->v[0])); }
TEST(le) { return jv_bool(jop_compare(r, OP_LE, v, args->v[0])); }
TEST(gt) { return jv_bool(jop_compare(r, OP_GT, v, args->v[0])); }
TEST(ge) { return jv_bool(jop_compare(r, OP_GE, v, args->v[0])); }
TEST(in) { return jv_bool(jop_compare(r, OP_IN, v, args->v[0])); }

/* is: the same object; small things are the same when they are equal */
TEST(sameas)
{
    struct jv other = args->v[0];
    if (v.kind != other.kind)
        return jv_bool(false);
    if (v.kind <= J_FLOAT || v.kind == J_STR)
        return jv_bool(jv_equal(r, v, other));
    return jv_bool(v.l == other.l);
}

static bool same_case(struct jrender *r, struct jv v, char how)
{
    struct jstr *s = jv_to_str(r, v);
    bool cased = !jv_equal(r, jstr_case(r, s, 'u'), jstr_case(r, s, 'l'));
    return cased && jv_equal(r, jstr_case(r, s, how), (struct jv){.kind = J_STR, .s = s});
}

TEST(lower) { (void)args; return jv_bool(same_case(r, v, 'l')); }
TEST(upper) { (void)args; return jv_bool(same_case(r, v, 'u')); }

static struct jv known(struct jrender *r, struct jv v, const struct jbuiltin *(*find)(const char *, size_t))
{
    if (v.kind == J_LIST || v.kind == J_DICT)
        jr_fail(r, "unhashable type: '%s'", jv_type(v));
    return jv_bool(v.kind == J_STR && find(v.s->s, v.s->len));
}

TEST(filter) { (void)args; return known(r, v, jfilter_find); }
TEST(test) { (void)args; return known(r, v, jtest_find); }

const struct jbuiltin *jtest_find(const char *name, size_t len)
{
    static const struct jbuiltin tests[] = {
        {"defined", test_defined, ""}, {"undefined", test_undefined, ""}, {"none", test_none, ""}, {"boolean", test_boolean, ""},
        {"true", test_true, ""}, {"false", test_false, ""}, {"integer", test_integer, ""}, {"float", test_float, ""}, {"number", test_number, ""},
        {"string", test_string, ""}, {"mapping", test_mapping, ""}, {"callable", test_callable, ""}, {"escaped", test_escaped, ""},
        {"iterable", test_iterable, ""}, {"sequence", test_sequence, ""}, {"odd", test_odd, ""}, {"even", test_even, ""},
        {"divisibleby", test_divisibleby, "!num"}, {"lower", test_lower, ""}, {"upper", test_upper, ""}, {"sameas", test_sameas, "!other"},
        {"filter", test_filter, ""}, {"test", test_test, ""}, {"in", test_in, "!seq"},
        {"eq", test_eq, "!b"}, {"==", test_eq, "!b"}, {"equalto", test_eq, "!b"}, {"ne", test_ne, "!b"}, {"!=", test_ne, "!b"},
        {"lt", test_lt, "!b"}, {"<", test_lt, "!b"}, {"lessthan", test_lt, "!b"}, {"le", test_le, "!b"}, {"<=", test_le, "!b"},
        {"gt", test_gt, "!b"}, {">", test_gt, "!b"}, {"greaterthan", test_gt, "!b"}, {"ge", test_ge, "!b"}, {">=", test_ge, "!b"},
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (strlen(tests[i].name) == len && !memcmp(tests[i].name, name, len))
            return &tests[i];
    return NULL;
}
