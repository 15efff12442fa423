/* Source text to tokens, with jinja2's rules for whitespace: trim_blocks and lstrip_blocks on, keep_trailing_newline off. */
#include <errno.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "text/jinja_internal.h"

struct jlexer {
    struct jparser *p;
    const char *s;
    size_t len, at;
    int line;
    bool line_start; /* the last piece of source taken ended with a newline */
};

_Noreturn static void lex_fail(struct jlexer *x, const char *what)
{
    x->p->fail.line = x->line;
    jinja_fail(&x->p->fail, "%s", what);
}

static struct jtoken *token_add(struct jlexer *x, enum jtoken_type type, const char *s, size_t len)
{
    struct jparser *p = x->p;
    if (p->n_tokens == p->cap_tokens) { /* the old array stays in the arena: at most as much again */
        size_t cap = p->cap_tokens ? p->cap_tokens * 2 : 256;
        struct jtoken *t = jparse_get(p, cap * sizeof *t);
        if (p->n_tokens)
            memcpy(t, p->tokens, p->n_tokens * sizeof *t);
        p->tokens = t, p->cap_tokens = cap;
    }
    struct jtoken *t = &p->tokens[p->n_tokens++];
    *t = (struct jtoken){.type = type, .line = x->line, .s = s, .len = len};
    return t;
}

/* Takes n bytes of source. */
static void advance(struct jlexer *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x->line += x->s[x->at + i] == '\n';
    if (n)
        x->line_start = x->s[x->at + n - 1] == '\n';
    x->at += n;
}

static bool at_text(const struct jlexer *x, size_t at, const char *text)
{
    size_t n = strlen(text);
    return at <= x->len && x->len - at >= n && !memcmp(x->s + at, text, n);
}

/* Length of `%}` (or `#}`, `}}`) with its whitespace control at x->at, 0 if there is none. */
static size_t end_length(const struct jlexer *x, const char *end, bool trim)
{
    size_t n = strlen(end), at = x->at;
    if (trim && at_text(x, at, "+") && at_text(x, at + 1, end))
        return 1 + n;
    if (at_text(x, at, "-") && at_text(x, at + 1, end))
        return 1 + n + jspace_start(x->s + at + 1 + n, x->len - at - 1 - n);
    if (!at_text(x, at, end))
        return 0;
    return n + (trim && at_text(x, at + n, "\n"));
}

/* Puts out the text before a tag that begins with `sign` after its brace. */
static void add_text(struct jlexer *x, size_t end, char sign, bool variable)
{
    const char *s = x->s + x->at;
    size_t len = end - x->at;
    if (sign == '-') {
        len = jspace_end(s, len);
    } else if (sign != '+' && !variable) {
        size_t line = len;
        while (line && s[line - 1] != '\n')
            line--;
        if ((line || x->line_start) && jspace_start(s + line, len - line) == len - line)
            len = line;
    }
    if (len)
        token_add(x, T_TEXT, s, len);
    advance(x, end - x->at);
}

static size_t space_at(const struct jlexer *x, size_t at)
{
    return at + jspace_start(x->s + at, x->len - at);
}

/* At "{%": length of a whole {% raw %} tag (with the whitespace it eats), or 0. */
static size_t raw_length(const struct jlexer *x)
{
    size_t at = x->at + 2;
    if (at < x->len && (x->s[at] == '-' || x->s[at] == '+'))
        at++;
    at = space_at(x, at);
    if (!at_text(x, at, "raw"))
        return 0;
    at = space_at(x, at + 3);
    if (at_text(x, at, "-%}"))
        return space_at(x, at + 3) - x->at;
    return at_text(x, at, "%}") ? at + 2 - x->at : 0;
}

static void lex_raw(struct jlexer *x)
{
    for (size_t at = x->at; at + 1 < x->len; at++) {
        if (!at_text(x, at, "{%"))
            continue;
        size_t k = at + 2;
        char sign = k < x->len && (x->s[k] == '-' || x->s[k] == '+') ? x->s[k++] : 0;
        k = space_at(x, k);
        if (!at_text(x, k, "endraw"))
            continue;
        struct jlexer y = *x;
        y.at = space_at(x, k + 6);
        size_t n = end_length(&y, "%}", true);
        if (!n)
            continue;
        add_text(x, at, sign, false);
        advance(x, y.at + n - x->at);
        return;
    }
    lex_fail(x, "missing end of raw block");
}

static void lex_comment(struct jlexer *x)
{
    struct jlexer y = *x;
    for (y.at = x->at + 2; y.at < x->len; y.at++) {
        size_t n = end_length(&y, "#}", true);
        if (n) {
            advance(x, y.at + n - x->at);
            return;
        }
    }
    lex_fail(x, "missing end of comment");
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One escape sequence of a Python string literal, s[0] the character after the backslash. */
static size_t unescape(struct jlexer *x, const char *s, size_t len, char *out, size_t *n)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = memchr(from, s[0], sizeof from - 1);
    if (known)
        return out[(*n)++] = to[known - from], 1;
    if (s[0] == '\n')
        return 1;
    uint32_t c = 0;
    size_t k = 1;
    if (s[0] >= '0' && s[0] <= '7') {
        c = (uint32_t)(s[0] - '0');
        while (k < 3 && k < len && s[k] >= '0' && s[k] <= '7')
            c = c * 8 + (uint32_t)(s[k++] - '0');
    } else if (s[0] == 'x' || s[0] == 'u' || s[0] == 'U') {
        size_t digits = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : 8;
        for (; k <= digits; k++) {
            if (k >= len || hex_value(s[k]) < 0)
                lex_fail(x, "a string has a broken \\x, \\u or \\U escape");
            c = c * 16 + (uint32_t)hex_value(s[k]);
        }
        if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
            lex_fail(x, "a string has an escape that is not a character");
    } else if (s[0] == 'N') {
        lex_fail(x, "\\N{...} in a string is not supported");
    } else {
        out[(*n)++] = '\\';
        return 0;
    }
    *n += (size_t)utf8_put(out + *n, c);
    return k;
}

static void lex_string(struct jlexer *x)
{
    char quote = x->s[x->at];
    size_t end = x->at + 1;
    while (end < x->len && x->s[end] != quote)
        end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->len)
        lex_fail(x, "a string has no end");
    const char *s = x->s + x->at + 1;
    size_t len = end - x->at - 1, n = 0;
    char *out = jparse_get(x->p, len + 8);
    for (size_t i = 0; i < len;) {
        if (s[i] == '\\')
            i++, i += unescape(x, s + i, len - i, out, &n);
        else
            out[n++] = s[i++];
    }
    token_add(x, T_STRING, out, n);
    advance(x, end + 1 - x->at);
}

/* digits with single underscores between; gives the end of them (at itself: none) */
static size_t digits(const struct jlexer *x, size_t at, int base)
{
    size_t end = at;
    for (size_t k = at; k < x->len; k++) {
        int v = hex_value(x->s[k]);
        if (v >= 0 && v < base)
            end = k + 1;
        else if (x->s[k] != '_' || end != k || k == at)
            break;
    }
    return end;
}

static void lex_int(struct jlexer *x)
{
    size_t at = x->at, end;
    int base = 10;
    char kind = at + 1 < x->len ? x->s[at + 1] | 0x20 : 0;
    if (x->s[at] == '0' && (kind == 'x' || kind == 'o' || kind == 'b')) {
        int b = kind == 'x' ? 16 : kind == 'o' ? 8 : 2;
        size_t first = at + 2 < x->len && x->s[at + 2] == '_' ? at + 3 : at + 2;
        if (digits(x, first, b) > first)
            base = b, at = first;
    }
    end = base == 10 && x->s[at] == '0' ? digits(x, at, 1) : digits(x, at, base);
    int64_t value = 0;
    for (size_t k = at; k < end; k++)
        if (x->s[k] != '_' && (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, hex_value(x->s[k]), &value)))
            lex_fail(x, "an integer does not fit 64 bits");
    token_add(x, T_INT, x->s + x->at, end - x->at)->i = value;
    advance(x, end - x->at);
}

static bool lex_float(struct jlexer *x)
{
    if (x->at && x->s[x->at - 1] == '.') /* l.0.1 */
        return false;
    size_t whole = digits(x, x->at, 10), end = whole, k;
    if (whole < x->len && x->s[whole] == '.' && (k = digits(x, whole + 1, 10)) > whole + 1)
        end = k;
    if (end < x->len && (x->s[end] == 'e' || x->s[end] == 'E')) {
        size_t e = end + 1;
        e += e < x->len && (x->s[e] == '+' || x->s[e] == '-');
        if ((k = digits(x, e, 10)) > e)
            end = k;
    }
    if (end == whole)
        return false;
    char *copy = jparse_get(x->p, end - x->at + 1);
    size_t n = 0;
    for (k = x->at; k < end; k++)
        if (x->s[k] != '_')
            copy[n++] = x->s[k];
    token_add(x, T_FLOAT, x->s + x->at, end - x->at)->f = strtod(copy, NULL);
    advance(x, end - x->at);
    return true;
}

static bool is_name_char(uint32_t c)
{
    if (c < 128)
        return (c | 0x20) - 'a' < 26u || c - '0' < 10u || c == '_';
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NO) || k == UTF8PROC_CATEGORY_PC;
}

static bool lex_name(struct jlexer *x)
{
    size_t end = x->at, next = x->at;
    while (next < x->len && is_name_char(utf8_next(x->s, x->len, &next)))
        end = next;
    if (end == x->at)
        return false;
    token_add(x, T_NAME, x->s + x->at, end - x->at);
    advance(x, end - x->at);
    return true;
}

static void lex_op(struct jlexer *x, char *open, int *depth)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = x->s[x->at];
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (at_text(x, x->at, two[i])) {
            token_add(x, T_OP, x->s + x->at, 2)->op = JOP2(two[i][0], two[i][1]);
            advance(x, 2);
            return;
        }
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c))
        lex_fail(x, "a character that has no place in an expression");
    if (strchr("([{", c)) {
        if (*depth == JINJA_MAX_NESTING)
            lex_fail(x, "brackets are nested too deeply");
        open[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c) && (!*depth || open[--*depth] != c)) {
        lex_fail(x, "a closing bracket without its opening one");
    }
    token_add(x, T_OP, x->s + x->at, 1)->op = JOP1(c);
    advance(x, 1);
}

/* Inside of {% %} or {{ }}. */
static void lex_inside(struct jlexer *x, const char *end, bool block)
{
    char open[JINJA_MAX_NESTING];
    int depth = 0;
    for (;;) {
        size_t n = depth ? 0 : end_length(x, end, block);
        if (n) {
            token_add(x, block ? T_BLOCK_END : T_PRINT_END, x->s + x->at, 2);
            advance(x, n);
            return;
        }
        if (x->at >= x->len)
            lex_fail(x, block ? "the template ends inside a {% tag" : "the template ends inside {{");
        if ((n = jspace_start(x->s + x->at, x->len - x->at))) {
            advance(x, n);
            continue;
        }
        char c = x->s[x->at];
        if (c >= '0' && c <= '9') {
            if (!lex_float(x))
                lex_int(x);
        } else if (c == '"' || c == '\'') {
            lex_string(x);
        } else if (!lex_name(x)) {
            lex_op(x, open, &depth);
        }
    }
}

static void lex_tag(struct jlexer *x, size_t tag)
{
    char kind = x->s[tag + 1];
    size_t k = tag + 2;
    char sign = k < x->len && (x->s[k] == '-' || x->s[k] == '+') ? x->s[k] : 0;
    add_text(x, tag, sign, kind == '{');
    size_t raw = kind == '%' ? raw_length(x) : 0;
    if (raw) {
        advance(x, raw);
        lex_raw(x);
    } else if (kind == '#') {
        lex_comment(x);
    } else {
        token_add(x, kind == '{' ? T_PRINT_BEGIN : T_BLOCK_BEGIN, x->s + tag, 2);
        advance(x, sign ? 3 : 2);
        lex_inside(x, kind == '{' ? "}}" : "%}", kind == '%');
    }
}

void jlex(struct jparser *p)
{
    char *copy = jparse_get(p, p->len + 1);
    size_t n = 0;
    for (size_t i = 0; i < p->len; i++) {
        if (p->src[i] == '\r')
            copy[n++] = '\n', i += i + 1 < p->len && p->src[i + 1] == '\n';
        else
            copy[n++] = p->src[i];
    }
    n -= n && copy[n - 1] == '\n';
    struct jlexer x = {.p = p, .s = copy, .len = n, .line = 1, .line_start = true};
    while (x.at < x.len) {
        size_t tag = x.at;
        while (tag < x.len && !(x.s[tag] == '{' && tag + 1 < x.len && x.s[tag + 1] && strchr("{%#", x.s[tag + 1])))
            tag++;
        if (tag == x.len) {
            token_add(&x, T_TEXT, x.s + x.at, tag - x.at);
            break;
        }
        lex_tag(&x, tag);
    }
    token_add(&x, T_EOF, "", 0);
}
