/* Patterns without a matcher of their own. */
#include "text/tokenizer_impl.h"

struct regex *regex_new(const char *pattern, size_t len, const char *place, struct err *e)
{
    err_set(e, "%s: no matcher for the pattern '%.*s'", place, (int)len, pattern);
    return NULL;
}

void regex_free(struct regex *r)
{
    (void)r;
}

int regex_find(const struct regex *r, const char *s, size_t len, size_t at, bool no_empty, size_t *start, size_t *end, struct err *e)
{
    (void)r, (void)s, (void)len, (void)at, (void)no_empty, (void)start, (void)end;
    return err_set(e, "no matcher for a pattern");
}
