/* Hand-written matchers for the pre-tokenizer patterns of the well-known families. Each returns the end of the match that
 * starts at i; together the alternatives of such a pattern match any text, so matches follow each other without gaps. */
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/utf8.h"

enum kind { OTHER, LETTER, NUMBER, SPACE };

static const uint8_t ascii_kind[128] = {['\t' ... '\r'] = SPACE, [' '] = SPACE, ['0' ... '9'] = NUMBER, ['A' ... 'Z'] = LETTER, ['a' ... 'z'] = LETTER};

static const uint8_t category_kind[UNICODE_CATEGORY + 1] = {
    [UNICODE_LU] = LETTER, [UNICODE_LL] = LETTER, [UNICODE_LT] = LETTER, [UNICODE_LM] = LETTER, [UNICODE_LO] = LETTER, [UNICODE_ND] = NUMBER,
    [UNICODE_NL] = NUMBER, [UNICODE_NO] = NUMBER, [UNICODE_ZS] = SPACE, [UNICODE_ZL] = SPACE, [UNICODE_ZP] = SPACE};

struct text { const uint8_t *classes; const char *s; size_t len; };

static inline uint32_t char_at(const struct text *t, size_t i, size_t *next)
{
    *next = i;
    return utf8_next(t->s, t->len, next);
}

/* Of a character beyond ASCII: out of the way of the loops over ASCII. */
static __attribute__((noinline)) enum kind wide_kind_at(const struct text *t, size_t i, size_t *next)
{
    uint32_t c = char_at(t, i, next);
    return c == 0x85 ? SPACE : category_kind[t->classes[c] & UNICODE_CATEGORY];
}

static inline enum kind kind_at(const struct text *t, size_t i, size_t *next)
{
    unsigned char c = (unsigned char)t->s[i];
    if (c >= 0x80)
        return wide_kind_at(t, i, next);
    *next = i + 1;
    return ascii_kind[c];
}

static inline size_t run_of(const struct text *t, size_t i, enum kind kind)
{
    size_t next;
    while (i < t->len && kind_at(t, i, &next) == kind)
        i = next;
    return i;
}

static inline bool is_newline(char c)
{
    return c == '\n' || c == '\r';
}

static inline size_t run_of_newlines(const struct text *t, size_t i, char also)
{
    while (i < t->len && (is_newline(t->s[i]) || (also && t->s[i] == also)))
        i++;
    return i;
}

/* '(s|t|re|ve|m|ll|d) at i; returns the end or 0. With any_case U+017F counts as an s, and nothing else beyond ASCII. */
static size_t contraction(const struct text *t, size_t i, bool any_case)
{
    size_t left = t->len - i - 1;
    const char *s = t->s + i + 1;
    if (t->s[i] != '\'' || !left)
        return 0;
    char fold = any_case ? 0x20 : 0, a = (char)(s[0] | fold), b = left > 1 ? (char)(s[1] | fold) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return i + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return i + 3;
    return any_case && left > 1 && !memcmp(s, "\xC5\xBF", 2) ? i + 3 : 0;
}

/* \s*[\r\n]+ when newlines, else \s+(?!\S)|\s+, at a space */
static size_t match_spaces(const struct text *t, size_t i, bool newlines)
{
    size_t end = i, last = i, after_newline = 0, next;
    while (end < t->len && kind_at(t, end, &next) == SPACE) {
        last = end;
        if (is_newline(t->s[end]))
            after_newline = next;
        end = next;
    }
    if (newlines && after_newline)
        return after_newline;
    return end == t->len || last == i ? end : last;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t pattern_gpt2(const uint8_t *classes, const char *s, size_t len, size_t i)
{
    struct text t = {classes, s, len};
    size_t end = contraction(&t, i, false), next;
    if (end)
        return end;
    size_t word = i + (s[i] == ' ');
    enum kind kind = word < len ? kind_at(&t, word, &next) : SPACE;
    return kind == SPACE ? match_spaces(&t, i, false) : run_of(&t, next, kind);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t match_llama3(const struct text *t, size_t i, int digits)
{
    size_t end = contraction(t, i, true), next, after;
    if (end)
        return end;
    enum kind kind = kind_at(t, i, &next);
    if (kind == LETTER)
        return run_of(t, next, LETTER);
    if (kind == NUMBER) {
        while (--digits > 0 && next < t->len && kind_at(t, next, &after) == NUMBER)
            next = after;
        return next;
    }
    enum kind second = next < t->len ? kind_at(t, next, &after) : SPACE;
    if (second == LETTER && !is_newline(t->s[i]))
        return run_of(t, after, LETTER);
    if (kind == OTHER)
        return run_of_newlines(t, run_of(t, next, OTHER), 0);
    if (t->s[i] == ' ' && second == OTHER)
        return run_of_newlines(t, run_of(t, after, OTHER), 0);
    return match_spaces(t, i, true);
}

static size_t match_llama3_3(const uint8_t *classes, const char *s, size_t len, size_t i)
{
    struct text t = {classes, s, len};
    return match_llama3(&t, i, 3);
}

static size_t match_llama3_1(const uint8_t *classes, const char *s, size_t len, size_t i)
{
    struct text t = {classes, s, len};
    return match_llama3(&t, i, 1);
}

#define UPPER_SET (1u << UNICODE_LU | 1u << UNICODE_LT | 1u << UNICODE_LM | 1u << UNICODE_LO | UNICODE_M)
#define LOWER_SET (1u << UNICODE_LL | 1u << UNICODE_LM | 1u << UNICODE_LO | UNICODE_M)

static size_t run_of_set(const struct text *t, size_t i, uint32_t set)
{
    size_t next;
    while (i < t->len && UNICODE_IN(t->classes[char_at(t, i, &next)], set))
        i = next;
    return i;
}

/* [UPPER]*[LOWER]+ at i, or 0. When no lower character follows the run, it gives back up to its last one that is in both. */
static size_t match_lower_word(const struct text *t, size_t i)
{
    size_t both = 0, next, end = i;
    while (end < t->len) {
        unsigned class = t->classes[char_at(t, end, &next)];
        if (!UNICODE_IN(class, UPPER_SET))
            break;
        if (UNICODE_IN(class, LOWER_SET))
            both = next;
        end = next;
    }
    size_t lower = run_of_set(t, end, LOWER_SET);
    return lower > end ? lower : both;
}

/* [UPPER]+[LOWER]* at i, or 0 */
static size_t match_upper_word(const struct text *t, size_t i)
{
    size_t end = run_of_set(t, i, UPPER_SET);
    return end > i ? run_of_set(t, end, LOWER_SET) : 0;
}

/* [^\r\n\p{L}\p{N}]?[UPPER]*[LOWER]+|[^\r\n\p{L}\p{N}]?[UPPER]+[LOWER]* at i, or 0 */
static size_t match_cased_word(const struct text *t, size_t i)
{
    size_t next;
    enum kind kind = kind_at(t, i, &next);
    bool prefix = kind != LETTER && kind != NUMBER && !is_newline(t->s[i]);
    size_t end = prefix ? match_lower_word(t, next) : 0;
    if (!end)
        end = match_lower_word(t, i);
    if (!end && prefix)
        end = match_upper_word(t, next);
    return end ? end : match_upper_word(t, i);
}

/* cased word, with its contraction|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t match_cased(const struct text *t, size_t i, int digits, bool contractions)
{
    size_t end = match_cased_word(t, i), next, after;
    if (end) {
        size_t more = contractions && end < t->len ? contraction(t, end, true) : 0;
        return more ? more : end;
    }
    enum kind kind = kind_at(t, i, &next);
    if (kind == NUMBER) {
        while (--digits > 0 && next < t->len && kind_at(t, next, &after) == NUMBER)
            next = after;
        return next;
    }
    if (kind == SPACE && t->s[i] == ' ' && next < t->len && kind_at(t, next, &after) == OTHER)
        next = after, kind = OTHER;
    return kind == OTHER ? run_of_newlines(t, run_of(t, next, OTHER), '/') : match_spaces(t, i, true);
}

static size_t match_tekken(const uint8_t *classes, const char *s, size_t len, size_t i)
{
    struct text t = {classes, s, len};
    return match_cased(&t, i, 1, false);
}

static size_t match_o200k(const uint8_t *classes, const char *s, size_t len, size_t i)
{
    struct text t = {classes, s, len};
    return match_cased(&t, i, 3, true);
}

#define ENDING "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CASES "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define SIGNS "| ?[^\\s\\p{L}\\p{N}]+"

static const struct { const char *regex; pattern_match *match; } known[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+" SIGNS "|\\s+(?!\\S)|\\s+", pattern_gpt2},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+" SIGNS "|\\s+(?!\\S)|\\s+", pattern_gpt2},
    {CASES "|" LEAD "\\p{L}+|\\p{N}{1,3}" SIGNS "[\\r\\n]*" ENDING, match_llama3_3},
    {CASES "|" LEAD "\\p{L}+|\\p{N}" SIGNS "[\\r\\n]*" ENDING, match_llama3_1},
    {LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}" SIGNS "[\\r\\n/]*" ENDING, match_tekken},
    {LEAD UPPER "*" LOWER "+" CASES "?|" LEAD UPPER "+" LOWER "*" CASES "?|\\p{N}{1,3}" SIGNS "[\\r\\n/]*" ENDING, match_o200k},
};

pattern_match *pattern_known(const char *regex, size_t len)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].regex) == len && !memcmp(known[i].regex, regex, len))
            return known[i].match;
    return NULL;
}
