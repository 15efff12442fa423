/* Patterns without a matcher of their own, through PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8

#include <pcre2.h>
#include <stdlib.h>

#include "base/mem.h"
#include "text/onig.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

struct regex { pcre2_code *code; };

struct regex *regex_new(const char *pattern, size_t len, const char *place, struct err *e)
{
    struct buf translated = BUF_INIT;
    struct regex *r = NULL;
    int error;
    PCRE2_SIZE offset;
    if (!onig_translate(pattern, len, &translated, e)) {
        pcre2_code *code = pcre2_compile((PCRE2_SPTR)buf_str(&translated), translated.len, PCRE2_UTF, &error, &offset, NULL);
        if (code) {
            pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where it cannot, matching goes on without */
            r = mem_alloc(sizeof *r);
            r->code = code;
        } else {
            char text[256];
            pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
            err_set(e, "the pattern '%.*s' is not supported: %s", (int)len, pattern, text);
        }
    }
    if (!r)
        err_prefix(e, "%s", place);
    buf_release(&translated);
    return r;
}

void regex_free(struct regex *r)
{
    if (r)
        pcre2_code_free(r->code);
    free(r);
}

void regex_end(struct regex_walk *w)
{
    pcre2_match_data_free(w->data);
    w->data = NULL;
}

/* An empty match right where the last match ended is passed over: the search goes on at the next character. */
int regex_find(const struct regex *r, struct regex_walk *w, const char *s, size_t len, size_t at, bool matched, size_t *start, size_t *end, struct err *e)
{
    if (!w->data)
        w->data = pcre2_match_data_create_from_pattern(r->code, NULL);
    if (!w->data)
        return err_set(e, "out of memory in a pattern");
    for (size_t from = at; from <= len;) {
        int found = pcre2_match(r->code, (PCRE2_SPTR)s, len, from, PCRE2_NO_UTF_CHECK, w->data, NULL);
        if (found == PCRE2_ERROR_JIT_STACKLIMIT)
            found = pcre2_match(r->code, (PCRE2_SPTR)s, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, w->data, NULL);
        if (found == PCRE2_ERROR_NOMATCH)
            return 0;
        if (found < 0) {
            char text[256];
            pcre2_get_error_message(found, (PCRE2_UCHAR *)text, sizeof text);
            return err_set(e, "a pattern failed on a text of %zu bytes: %s", len, text);
        }
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(w->data);
        *start = range[0];
        *end = range[1];
        if (!matched || *end != *start || *end != at)
            return 1;
        if (from == len)
            return 0;
        utf8_next(s, len, &from);
    }
    return 0;
}
