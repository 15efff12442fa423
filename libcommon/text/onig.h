/* Oniguruma patterns (Ruby syntax, as tokenizer.json has them) said in PCRE2's words.
 *
 *     struct buf pcre = BUF_INIT;
 *     onig_translate(pattern, len, &pcre, &err);   then pcre2_compile(..., PCRE2_UTF, ...)
 * The two differ in Unicode versions, in \s \w \d \h, in what ^ $ (?m) {n,m}+ (?i) mean and in class syntax; so every class is
 * worked out here and written as ranges, and what remains is written in a form that means the same in PCRE2. What has no
 * such form, or whose meaning depends on more than that, is an error that names the construct. */
#ifndef TEXT_ONIG_H
#define TEXT_ONIG_H

#include "base/buf.h"
#include "base/err.h"

int onig_translate(const char *pattern, size_t len, struct buf *out, struct err *e) MUST_CHECK;

#endif
