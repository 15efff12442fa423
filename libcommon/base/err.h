/* Errors of the libraries.
 *
 * A function that can fail takes `struct err *` as its last argument, returns -1 or NULL and fills the text
 * with "file: place: what was found, what was expected" (lower case, no full stop). Libraries never print
 * and never exit; only tools do, through cli/msg.h. `e` is never NULL. The first error set stays: a later
 * err_set on a filled `struct err` is ignored, so clean-up code cannot hide the cause. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

struct err {
    bool set;
    char text[1000];
};

#define ERR_INIT {false, ""}

/* Fills `e`; returns -1 so that callers write `return err_set(e, ...)`. */
int err_set(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, with ": " and strerror(errno) appended. */
int err_sys(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before the text of an error that is set (file or place known only to the caller). */
int err_prefix(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define MUST_CHECK __attribute__((warn_unused_result))

#endif
