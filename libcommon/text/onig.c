#include "text/onig.h"

#include <string.h>

#include "text/onig_impl.h"
#include "text/utf8.h"

int onig_refuse(const struct onig *o, size_t from, const char *what)
{
    size_t to = o->i < o->len ? o->i : o->len;
    return err_set(o->e, "%s '%.*s' in the pattern '%.*s' is not supported", what, (int)(to > from ? to - from : 0), o->s + from,
                   (int)(o->len > 200 ? 200 : o->len), o->s);
}

static void put_set(struct onig *o, const struct char_set *set)
{
    if (!set->n) {
        buf_add_str(o->out, "(?!)");
        return;
    }
    buf_add_char(o->out, '[');
    for (size_t i = 0; i < set->n; i++)
        buf_printf(o->out, "\\x{%x}-\\x{%x}", set->ranges[i].first, set->ranges[i].last);
    buf_add_char(o->out, ']');
}

static int put_char_set(struct onig *o, struct char_set *set, size_t from)
{
    if (o->ignore_case && onig_fold(o, set, from))
        return -1;
    put_set(o, set);
    return 0;
}

/* \b between characters that are and are not \w. */
static void put_boundary(struct onig *o, bool inside)
{
    struct char_set words = {NULL, 0, 0};
    char_set_add_words(&words, false);
    buf_add_str(o->out, "(?:(?<=");
    put_set(o, &words);
    buf_add_str(o->out, inside ? ")(?=" : ")(?!");
    put_set(o, &words);
    buf_add_str(o->out, ")|(?<!");
    put_set(o, &words);
    buf_add_str(o->out, inside ? ")(?!" : ")(?=");
    put_set(o, &words);
    buf_add_str(o->out, "))");
    char_set_release(&words);
}

static int put_escape(struct onig *o, bool *repeatable)
{
    size_t start = o->i++;
    struct char_set set = {NULL, 0, 0};
    bool is_class;
    int found = onig_escape(o, false, &set, &is_class);
    int result = found > 0 ? put_char_set(o, &set, start) : found;
    char_set_release(&set);
    if (found)
        return result;
    *repeatable = false;
    switch (o->s[o->i++]) {
    case 'b':
        put_boundary(o, false);
        return 0;
    case 'B':
        put_boundary(o, true);
        return 0;
    case 'A':
        buf_add_str(o->out, "\\A");
        return 0;
    case 'z':
        buf_add_str(o->out, "\\z");
        return 0;
    case 'Z':
        buf_add_str(o->out, "\\Z");
        return 0;
    default:
        return onig_refuse(o, start, "escape");
    }
}

static int alternatives(struct onig *o);

/* (?imx-imx) and (?imx-imx: ... ; x is not supported. A bare one reaches to the end of its group, alternatives included, so
 * it may only stand at the group's start, where that is what any engine would do. */
static int options(struct onig *o, size_t start, bool at_start, bool *bare)
{
    bool on = true;
    for (; o->i < o->len; o->i++) {
        char c = o->s[o->i];
        if (c == '-')
            on = false;
        else if (c == 'i')
            o->ignore_case = on;
        else if (c == 'm')
            o->dot_all = on;
        else
            break;
    }
    char c = o->i < o->len ? o->s[o->i++] : 0;
    *bare = c == ')';
    if ((c != ':' && c != ')') || (*bare && !at_start))
        return onig_refuse(o, start, "option group");
    return 0;
}

static int group_opening(struct onig *o, size_t start, bool at_start, bool *bare, bool *look)
{
    static const char *const kinds[] = {"?=", "?!", "?<=", "?<!", "?>", "?:"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t n = strlen(kinds[k]);
        if (o->len - o->i >= n && !memcmp(o->s + o->i, kinds[k], n)) {
            o->i += n;
            buf_printf(o->out, "(%s", kinds[k]);
            *look = k < 4;
            return 0;
        }
    }
    if (o->i == o->len || o->s[o->i] != '?') { /* nothing refers to captures: they are plain groups */
        buf_add_str(o->out, "(?:");
        return 0;
    }
    o->i++;
    if (o->i < o->len && strchr("im-", o->s[o->i])) {
        if (options(o, start, at_start, bare))
            return -1;
        if (!*bare)
            buf_add_str(o->out, "(?:");
        return 0;
    }
    o->i += o->i < o->len;
    return onig_refuse(o, start, "group");
}

static int group(struct onig *o, bool at_start, bool *repeatable, bool *bare)
{
    size_t start = o->i++;
    bool ignore_case = o->ignore_case, dot_all = o->dot_all, look = false;
    *bare = false;
    if (++o->depth > 100)
        return onig_refuse(o, start, "nesting deeper than 100");
    if (group_opening(o, start, at_start, bare, &look))
        return -1;
    if (*bare) {
        o->depth--;
        return 0;
    }
    if (alternatives(o))
        return -1;
    if (o->i == o->len)
        return onig_refuse(o, start, "group without an end");
    o->i++;
    o->depth--;
    buf_add_char(o->out, ')');
    o->ignore_case = ignore_case;
    o->dot_all = dot_all;
    *repeatable = !look;
    return 0;
}

static int put_dot(struct onig *o)
{
    struct char_set all = {NULL, 0, 0};
    if (o->ignore_case)
        o->folds_after_f = o->folds_after_s = false;
    if (!o->dot_all)
        char_set_add(&all, '\n', '\n');
    char_set_invert(&all);
    put_set(o, &all);
    char_set_release(&all);
    o->i++;
    return 0;
}

static int put_class_or_char(struct onig *o)
{
    struct char_set set = {NULL, 0, 0};
    size_t start = o->i;
    int result = 0;
    if (o->s[o->i] == '[') {
        result = onig_class(o, &set);
    } else {
        uint32_t c = utf8_next(o->s, o->len, &o->i);
        char_set_add(&set, c, c);
    }
    if (!result)
        result = put_char_set(o, &set, start);
    char_set_release(&set);
    return result;
}

static int atom(struct onig *o, bool at_start, bool *repeatable, bool *bare)
{
    *repeatable = true;
    *bare = false;
    switch (o->s[o->i]) {
    case '(':
        return group(o, at_start, repeatable, bare);
    case '\\':
        return put_escape(o, repeatable);
    case '.':
        return put_dot(o);
    case '^':
    case '$':
        *repeatable = false;
        buf_printf(o->out, "(?m:%c)", o->s[o->i++]);
        return 0;
    case '*':
    case '+':
    case '?':
        o->i++;
        return onig_refuse(o, o->i - 1, "quantifier without a target");
    default:
        return put_class_or_char(o);
    }
}

static bool number(const struct onig *o, size_t *i, unsigned *out)
{
    size_t start = *i;
    *out = 0;
    while (*i < o->len && o->s[*i] >= '0' && o->s[*i] <= '9' && *out < 10000)
        *out = *out * 10 + (unsigned)(o->s[(*i)++] - '0');
    return *i > start;
}

/* {n}, {n,}, {,m}, {n,m} at i; anything else is not an interval. */
static bool interval(struct onig *o, bool *exact)
{
    size_t i = o->i + 1;
    unsigned low, high;
    bool has_low = number(o, &i, &low), comma = i < o->len && o->s[i] == ',';
    if (comma)
        i++;
    bool has_high = comma && number(o, &i, &high);
    if (i >= o->len || o->s[i] != '}' || !(has_low || has_high))
        return false;
    *exact = !comma;
    if (!comma)
        buf_printf(o->out, "{%u}", low);
    else if (has_high)
        buf_printf(o->out, "{%u,%u}", low, high);
    else
        buf_printf(o->out, "{%u,}", low);
    o->i = i + 1;
    return true;
}

/* What follows an atom that was written from `at` on. After an interval, + and (for {n}) ? are quantifiers of their own. */
static int quantifiers(struct onig *o, size_t at, bool repeatable)
{
    size_t start = o->i;
    bool exact = false;
    if (o->i == o->len)
        return 0;
    char c = o->s[o->i];
    if (c == '*' || c == '+' || c == '?') {
        buf_add_char(o->out, c);
        o->i++;
        if (o->i < o->len && (o->s[o->i] == '?' || o->s[o->i] == '+'))
            buf_add_char(o->out, o->s[o->i++]);
    } else if (c == '{' && interval(o, &exact)) {
        char after = o->i < o->len ? o->s[o->i] : 0;
        if (after == '?' && !exact) {
            buf_add_char(o->out, '?');
            o->i++;
        } else if (after == '+' || after == '?') {
            char *inner = o->out->data + at;
            struct buf copy = BUF_INIT;
            buf_add(&copy, inner, o->out->len - at);
            buf_set_len(o->out, at);
            buf_printf(o->out, "(?:%s)%c", copy.data, after);
            buf_release(&copy);
            o->i++;
        }
    } else {
        return 0;
    }
    if (!repeatable)
        return onig_refuse(o, start, "quantifier of something without width");
    bool more = o->i < o->len && (strchr("*+?", o->s[o->i]) || o->s[o->i] == '{');
    return more ? onig_refuse(o, start, "quantifier of a quantifier") : 0;
}

/* Everything up to the ')' that closes the group, or the end. */
static int alternatives(struct onig *o)
{
    bool at_start = true;
    while (o->i < o->len && o->s[o->i] != ')') {
        if (o->s[o->i] == '|') {
            buf_add_char(o->out, '|');
            o->i++;
            at_start = false;
            o->folds_after_f = o->folds_after_s = false;
            continue;
        }
        size_t at = o->out->len;
        bool repeatable, bare;
        if (atom(o, at_start, &repeatable, &bare))
            return -1;
        if (!bare && quantifiers(o, at, repeatable))
            return -1;
        at_start &= bare;
    }
    return 0;
}

int onig_translate(const char *pattern, size_t len, struct buf *out, struct err *e)
{
    struct onig o = {.s = pattern, .len = len, .out = out, .e = e};
    if (alternatives(&o))
        return -1;
    return o.i < len ? onig_refuse(&o, o.i, "unmatched ')'") : 0;
}
