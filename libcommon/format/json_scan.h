/* A strict JSON scanner over memory, for headers where every accepted byte matters.
 *
 * Accepts what Rust's serde_json accepts (RFC 8259; lone surrogates, raw control bytes, leading zeros, numbers
 * out of double range and nesting of 128 levels are errors). The text must be valid UTF-8 already: check it with json_scan_utf8().
 *     struct json_scan s; json_scan_init(&s, text, len, "file: header", &err);
 *     json_scan_char(&s, '{'); json_scan_string(&s, &key); ...
 * Every function skips white space first, returns 0 or -1 and fills the error with the byte offset. */
#ifndef FORMAT_JSON_SCAN_H
#define FORMAT_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define JSON_SCAN_DEPTH 127

struct json_scan {
    const unsigned char *start, *p, *end;
    const char *what; /* "file: header", borrowed */
    struct err *e;    /* borrowed */
    int depth;        /* of the value being read; the caller counts the containers that it opens itself */
};

void json_scan_init(struct json_scan *s, const void *text, size_t len, const char *what, struct err *e);
size_t json_scan_utf8(const void *text, size_t len);              /* offset of the first invalid byte, or len */
int json_scan_peek(struct json_scan *s);                          /* next byte after white space, -1 at the end; consumes no token */
bool json_scan_try(struct json_scan *s, char c);                  /* consumes c when it is next */
int json_scan_char(struct json_scan *s, char c) MUST_CHECK;
int json_scan_word(struct json_scan *s, const char *word) MUST_CHECK; /* null, true, false */
int json_scan_string(struct json_scan *s, struct buf *out) MUST_CHECK; /* out is cleared first; may come to hold NUL */
int json_scan_uint(struct json_scan *s, uint64_t *v) MUST_CHECK;  /* an integer literal in 0 .. 2^64-1 */
int json_scan_skip(struct json_scan *s) MUST_CHECK;               /* any value */
int json_scan_end(struct json_scan *s) MUST_CHECK;                /* nothing but white space is left */
int json_scan_fail(struct json_scan *s, const char *expected);    /* "WHAT: byte N: found X, expected EXPECTED"; -1 */

#endif
