/* The values of options: text to numbers, whole and range-checked.
 * They return 0, or -1 with "'10x' is not a whole number" and the like in `e`; the caller adds the option's name. */
#ifndef CLI_OPT_VALUE_H
#define CLI_OPT_VALUE_H

#include <stdint.h>

#include "base/err.h"
#include "cli/opt.h"

/* "16", "1.5k", "2M": factors of 1000; the product must be whole. */
int opt_parse_count(const char *text, int64_t *value, struct err *e) MUST_CHECK;
/* The same for bytes: also "1.5GB", and "512Ki", "4GiB" with factors of 1024. */
int opt_parse_size(const char *text, int64_t *value, struct err *e) MUST_CHECK;
/* A finite decimal number: "2e-4". */
int opt_parse_real(const char *text, double *value, struct err *e) MUST_CHECK;
/* "3-9", "3-" (to is INT64_MAX), "-9" (from is 1), "3" (both): 1 <= from <= to. */
int opt_parse_range(const char *text, struct opt_range *range, struct err *e) MUST_CHECK;

/* Stores `text` (NULL for flags) where the option points, after checking it against the option's range or choices. */
int opt_store(const struct opt *o, const char *text, struct err *e) MUST_CHECK;

#endif
