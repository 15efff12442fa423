/* Python's `re` on module names, by PCRE2. Constructs that the two read differently are refused, not guessed:
 * escapes that Python lacks or that mean something else, (*VERBS), recursion, POSIX classes, "{,n}". */
#ifndef FORMAT_PY_REGEX_H
#define FORMAT_PY_REGEX_H

#include <stdbool.h>

#include "base/err.h"

enum py_regex_mode { PY_REGEX_MATCH, PY_REGEX_FULLMATCH };

/* 1: matches, 0: does not, -1: not a pattern that we can use (the error names it) or too costly. `group`, of size `size`, gets the text
 * of group 1 ("" when it took no part); may be NULL. */
int py_regex(const char *pattern, const char *text, enum py_regex_mode mode, char *group, unsigned long size, struct err *e) MUST_CHECK;

#endif
