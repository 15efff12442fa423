/* What a Split, Replace or Digits looks for, and the walk over its matches. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

int matcher_parse(struct matcher *m, const json_t *pattern, const char *place, struct err *e)
{
    const json_t *literal = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    if (json_object_size(pattern) != 1 || !(json_is_string(literal) || json_is_string(regex)))
        return err_set(e, "%s: pattern is not {\"String\": ...} or {\"Regex\": ...}", place);
    if (literal) {
        m->kind = MATCH_LITERAL;
        return field_text(pattern, "String", place, true, &m->text, &m->len, e);
    }
    const char *text = json_string_value(regex);
    size_t len = json_string_length(regex);
    m->known = pattern_known(text, len);
    m->kind = m->known ? MATCH_KNOWN : MATCH_REGEX;
    if (!m->known)
        m->regex = regex_new(text, len, place, e);
    return m->known || m->regex ? 0 : -1;
}

void matcher_release(struct matcher *m)
{
    free(m->text);
    regex_free(m->regex);
}

static bool is_match(const struct finder *f, uint32_t c)
{
    switch (f->m->kind) {
    case MATCH_NUMERIC:
        return f->classes[c] & UNICODE_NUMERIC;
    case MATCH_PUNCTUATION:
        return unicode_set_has(&unicode_punctuation, c);
    default:
        return unicode_is_space(c);
    }
}

/* One character at a time. */
static int next_char(struct finder *f, size_t *start, size_t *end)
{
    for (size_t i = f->at; i < f->len;) {
        size_t from = i;
        if (is_match(f, utf8_next(f->s, f->len, &i))) {
            *start = from;
            *end = f->at = i;
            return 1;
        }
    }
    return 0;
}

/* \w+|[^\w\s]+ with Rust's \w */
static int next_word(struct finder *f, size_t *start, size_t *end)
{
    size_t i = f->at;
    int kind = -1; /* of the run: 1 word, 0 other */
    while (i < f->len) {
        size_t next = i;
        uint32_t c = utf8_next(f->s, f->len, &next);
        int this = f->classes[c] & UNICODE_WORD ? 1 : unicode_is_space(c) ? -1 : 0;
        if (kind >= 0 && this != kind)
            break;
        if (kind < 0 && this >= 0) {
            kind = this;
            *start = i;
        }
        i = next;
    }
    *end = f->at = i;
    return kind >= 0;
}

/* An empty literal matches before every character and at the end. */
static int next_literal(struct finder *f, size_t *start, size_t *end)
{
    size_t at = f->at;
    if (!f->m->len) {
        if (f->matched && at == f->len)
            return 0;
        if (f->matched)
            utf8_next(f->s, f->len, &at);
        *start = *end = f->at = at;
        return 1;
    }
    const char *hit = at < f->len ? memmem(f->s + at, f->len - at, f->m->text, f->m->len) : NULL;
    if (!hit)
        return 0;
    *start = (size_t)(hit - f->s);
    *end = f->at = *start + f->m->len;
    return 1;
}

int finder_next(struct finder *f, size_t *start, size_t *end, struct err *e)
{
    int found;
    if (f->m->kind == MATCH_KNOWN) {
        if (f->at == f->len)
            return 0;
        *start = f->at;
        *end = f->at = f->m->known(f->classes, f->s, f->len, f->at);
        found = 1;
    } else if (f->m->kind == MATCH_LITERAL) {
        found = next_literal(f, start, end);
    } else if (f->m->kind == MATCH_REGEX) {
        found = regex_find(f->m->regex, &f->walk, f->s, f->len, f->at, f->matched, start, end, e);
        if (found == 1)
            f->at = *end;
    } else {
        found = f->m->kind == MATCH_WORDS ? next_word(f, start, end) : next_char(f, start, end);
    }
    f->matched |= found == 1;
    return found;
}

void finder_end(struct finder *f)
{
    regex_end(&f->walk);
}
