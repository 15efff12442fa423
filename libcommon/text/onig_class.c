/* Characters, escapes and classes of Oniguruma patterns. */
#include <string.h>

#include "text/onig_impl.h"
#include "text/utf8.h"

static bool hex_value(const struct onig *o, size_t from, size_t to, uint32_t *out)
{
    uint32_t v = 0;
    if (to > o->len || from == to || to - from > 8)
        return false;
    for (size_t i = from; i < to; i++) {
        char c = o->s[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return false;
        v = v << 4 | (uint32_t)d;
    }
    *out = v;
    return v < 0x110000 && !(v >= 0xD800 && v < 0xE000);
}

/* \xHH below 80 (above, Oniguruma means a byte), \x{H...}, \uHHHH */
static int code_point(struct onig *o, size_t start, struct char_set *set)
{
    uint32_t c;
    size_t from = o->i + 1, to;
    bool braces = o->s[o->i] == 'x' && from < o->len && o->s[from] == '{';
    if (braces) {
        const char *close = memchr(o->s + from, '}', o->len - from);
        to = close ? (size_t)(close - o->s) : o->len + 1;
        from++;
    } else {
        to = from + (o->s[o->i] == 'u' ? 4 : 2);
    }
    if (!hex_value(o, from, to, &c) || (o->s[o->i] == 'x' && !braces && c >= 0x80))
        return onig_refuse(o, start, "code point");
    o->i = to + braces;
    char_set_add(set, c, c);
    return 1;
}

static const struct { const char *name; uint32_t categories; } properties[] = {
    {"l", UNICODE_L}, {"letter", UNICODE_L}, {"m", UNICODE_M}, {"mark", UNICODE_M}, {"n", UNICODE_N}, {"number", UNICODE_N},
    {"p", UNICODE_P}, {"punctuation", UNICODE_P}, {"s", UNICODE_S}, {"symbol", UNICODE_S}, {"z", UNICODE_Z}, {"separator", UNICODE_Z},
    {"c", UNICODE_C}, {"other", UNICODE_C}, {"any", UINT32_MAX}, {"lc", 0x0E}, {"lu", 1u << UNICODE_LU}, {"ll", 1u << UNICODE_LL},
    {"lt", 1u << UNICODE_LT}, {"lm", 1u << UNICODE_LM}, {"lo", 1u << UNICODE_LO}, {"mn", 1u << UNICODE_MN}, {"mc", 1u << UNICODE_MC},
    {"me", 1u << UNICODE_ME}, {"nd", 1u << UNICODE_ND}, {"nl", 1u << UNICODE_NL}, {"no", 1u << UNICODE_NO}, {"pc", 1u << UNICODE_PC},
    {"pd", 1u << UNICODE_PD}, {"ps", 1u << UNICODE_PS}, {"pe", 1u << UNICODE_PE}, {"pi", 1u << UNICODE_PI}, {"pf", 1u << UNICODE_PF},
    {"po", 1u << UNICODE_PO}, {"sm", 1u << UNICODE_SM}, {"sc", 1u << UNICODE_SC}, {"sk", 1u << UNICODE_SK}, {"so", 1u << UNICODE_SO},
    {"zs", 1u << UNICODE_ZS}, {"zl", 1u << UNICODE_ZL}, {"zp", 1u << UNICODE_ZP}, {"cn", 1u << UNICODE_CN}, {"cc", 1u << UNICODE_CC},
    {"cf", 1u << UNICODE_CF}, {"co", 1u << UNICODE_CO},
};

/* Names compare without case, blanks, '-' and '_'. */
static bool add_property(const char *name, size_t len, struct char_set *set)
{
    char plain[32], script[32];
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c == ' ' || c == '-' || c == '_')
            continue;
        if (n == sizeof plain - 1)
            return false;
        plain[n++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    plain[n] = 0;
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        if (!strcmp(properties[i].name, plain)) {
            char_set_add_categories(set, properties[i].categories);
            return true;
        }
    }
    memcpy(script, plain, n + 1);
    if (n && script[0] >= 'a' && script[0] <= 'z')
        script[0] = (char)(script[0] - 32);
    const struct unicode_set *s = unicode_script(script, n);
    if (s)
        char_set_add_ranges(set, s);
    return s != NULL;
}

/* \p{Name}, \P{Name}, \p{^Name} */
static int property(struct onig *o, size_t start, struct char_set *set)
{
    bool invert = o->s[o->i] == 'P';
    size_t from = o->i + 2;
    const char *close = from < o->len && o->s[from - 1] == '{' ? memchr(o->s + from, '}', o->len - from) : NULL;
    if (!close)
        return onig_refuse(o, start, "property");
    o->i = (size_t)(close - o->s) + 1;
    if (o->s[from] == '^') {
        invert = !invert;
        from++;
    }
    if (!add_property(o->s + from, (size_t)(close - o->s) - from, set))
        return onig_refuse(o, start, "property");
    if (invert)
        char_set_invert(set);
    return 1;
}

static bool add_shorthand(char c, bool in_class, struct char_set *set)
{
    switch (c) {
    case 'd': case 'D':
        char_set_add_categories(set, 1u << UNICODE_ND);
        break;
    case 'w': case 'W':
        char_set_add_words(set, in_class);
        break;
    case 's': case 'S':
        char_set_add_spaces(set);
        break;
    case 'h': case 'H':
        char_set_add(set, '0', '9');
        char_set_add(set, 'a', 'f');
        char_set_add(set, 'A', 'F');
        break;
    default:
        return false;
    }
    if (c < 'a')
        char_set_invert(set);
    return true;
}

int onig_escape(struct onig *o, bool in_class, struct char_set *set, bool *is_class)
{
    static const char names[] = "tnrfvae", values[] = "\t\n\r\f\v\a\x1B";
    size_t start = o->i - 1;
    *is_class = false;
    if (o->i == o->len)
        return onig_refuse(o, start, "backslash at the end");
    char c = o->s[o->i];
    if (add_shorthand(c, in_class, set)) {
        o->i++;
        *is_class = true;
        return 1;
    }
    if (c == 'p' || c == 'P') {
        *is_class = true;
        return property(o, start, set);
    }
    if (c == 'x' || c == 'u')
        return code_point(o, start, set);
    const char *name = memchr(names, c, 7);
    if (name) {
        o->i++;
        char_set_add(set, (uint32_t)values[name - names], (uint32_t)values[name - names]);
        return 1;
    }
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return 0;
    uint32_t literal = utf8_next(o->s, o->len, &o->i);
    char_set_add(set, literal, literal);
    return 1;
}

/* One item of a class: a character (then *single) or a set. */
static int class_item(struct onig *o, struct char_set *set, bool *single)
{
    size_t start = o->i;
    bool is_class = false;
    *single = false;
    if (o->s[o->i] == '[') {
        if (o->i + 1 < o->len && o->s[o->i + 1] == ':') {
            o->i += 2;
            return onig_refuse(o, start, "POSIX bracket");
        }
        return onig_class(o, set);
    }
    if (o->s[o->i] == '\\') {
        o->i++;
        int found = onig_escape(o, true, set, &is_class);
        if (found == 0) {
            o->i++;
            return onig_refuse(o, start, "escape in a class");
        }
        *single = !is_class;
        return found < 0 ? -1 : 0;
    }
    uint32_t c = utf8_next(o->s, o->len, &o->i);
    char_set_add(set, c, c);
    *single = true;
    return 0;
}

/* a, a-b, \w, [..]; a '-' that has no character on both sides is itself. */
static int class_range(struct onig *o, struct char_set *out)
{
    struct char_set item = {NULL, 0, 0}, last = {NULL, 0, 0};
    size_t start = o->i;
    bool single, single_last = false;
    int result = class_item(o, &item, &single);
    if (!result && single && o->i + 1 < o->len && o->s[o->i] == '-' && o->s[o->i + 1] != ']') {
        o->i++;
        result = class_item(o, &last, &single_last);
        if (!result && (!single_last || last.ranges[0].first < item.ranges[0].first))
            result = onig_refuse(o, start, "range in a class");
        if (!result)
            char_set_add(&item, item.ranges[0].first, last.ranges[0].first);
    }
    if (!result)
        char_set_add_set(out, &item);
    char_set_release(&item);
    char_set_release(&last);
    return result;
}

int onig_class(struct onig *o, struct char_set *set)
{
    size_t start = o->i++;
    bool invert = o->i < o->len && o->s[o->i] == '^', narrowed = false, any = false;
    struct char_set all = {NULL, 0, 0}, part = {NULL, 0, 0};
    int result = ++o->depth > 100 ? onig_refuse(o, start, "nesting deeper than 100") : 0;
    o->i += invert;
    while (!result && o->i < o->len && (o->s[o->i] != ']' || !any)) {
        if (o->s[o->i] == ']') {
            result = onig_refuse(o, start, "class that begins with ']'");
        } else if (o->len - o->i >= 2 && !memcmp(o->s + o->i, "&&", 2)) {
            o->i += 2;
            if (narrowed)
                char_set_intersect(&all, &part);
            else
                char_set_add_set(&all, &part);
            narrowed = true;
            char_set_clear(&part);
        } else {
            result = class_range(o, &part);
        }
        any = true;
    }
    if (!result && o->i == o->len)
        result = onig_refuse(o, start, "class without an end");
    o->i++;
    o->depth--;
    if (narrowed)
        char_set_intersect(&part, &all);
    if (invert)
        char_set_invert(&part);
    if (!result)
        char_set_add_set(set, &part);
    char_set_release(&all);
    char_set_release(&part);
    return result;
}

int onig_fold(struct onig *o, struct char_set *set, size_t from)
{
    if (set->n && set->ranges[set->n - 1].last >= 0x80)
        return onig_refuse(o, from, "case-insensitive match of more than ASCII");
    for (uint32_t c = 'a'; c <= 'z'; c++) {
        uint32_t upper = c - 32;
        if (char_set_has(set, c))
            char_set_add(set, upper, upper);
        else if (char_set_has(set, upper))
            char_set_add(set, c, c);
    }
    bool f = char_set_has(set, 'f'), s = char_set_has(set, 's'), i = char_set_has(set, 'i'), l = char_set_has(set, 'l'), t = char_set_has(set, 't');
    if ((o->folds_after_f && (f || i || l)) || (o->folds_after_s && (s || t)))
        return onig_refuse(o, from, "case-insensitive letters that a ligature or sharp s stands for");
    o->folds_after_f = f;
    o->folds_after_s = s;
    if (s)
        char_set_add(set, 0x17F, 0x17F);
    if (char_set_has(set, 'k'))
        char_set_add(set, 0x212A, 0x212A);
    return 0;
}
